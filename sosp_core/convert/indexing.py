"""Reading and writing at positions."""

from __future__ import annotations

import torch
from torch import Tensor

from sosp_core.convert.operands import ints, required
from sosp_core.convert.table import Compute, Operator, Unconvertible, converters

INT_MAX = (2**31 - 1, 2**63 - 1)


@converters.register("Slice", since=1)
def slice_(op: Operator) -> Compute:
    """Every ``step``-th element from ``start`` to before ``end``, along each of the axes given.

    Bounds are attributes before opset 10, then inputs. Negative ones count from the end; all
    are clamped into the axis. An end of INT_MAX leaves no element out, whichever the
    direction: so does ONNX Runtime, though the text of the standard asks INT_MIN of a reader
    going backward.
    """
    reads = [ints(op, 1, "starts"), ints(op, 2, "ends"), ints(op, 3, "axes"), ints(op, 4)]

    def compute(x: Tensor, *bounds: Tensor | None) -> Tensor:
        given = [*bounds, None, None, None, None][:4]
        starts, ends, axes, steps = (read(t) for read, t in zip(reads, given, strict=True))
        starts, ends = required(starts, "starts"), required(ends, "ends")
        axes = list(range(len(starts))) if axes is None else axes
        steps = [1] * len(starts) if steps is None else steps
        for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
            x = _slice_axis(x, axis, start, end, step)
        return x

    return compute


def _slice_axis(x: Tensor, axis: int, start: int, end: int, step: int) -> Tensor:
    size = x.shape[axis]
    if end in INT_MAX and step < 0:
        end = -size - 1
    start, end = (v + size if v < 0 else v for v in (start, end))
    if step > 0:
        index = [slice(None)] * x.dim()
        index[axis] = slice(max(start, 0), max(end, 0), step)
        return x[tuple(index)]
    taken = range(max(min(start, size - 1), 0), max(min(end, size - 1), -1), step)
    return x.index_select(axis, torch.arange(len(taken), device=x.device) * step + taken.start)


def _wrapped(index: Tensor, size: int) -> Tensor:
    """Negative positions count from the end; torch's indexing functions do not know that."""
    index = index.long()
    return torch.where(index < 0, index + size, index)


@converters.register("Gather", trainable=(0,))
def gather(op: Operator) -> Compute:
    """``y[a…, i…, b…] = x[a…, index[i…], b…]``: the index tensor takes the place of ``axis``."""
    axis, fixed = op.attribute("axis", 0), op.constants.get(1)
    single = int(fixed) if fixed is not None and fixed.ndim == 0 else None

    def compute(x: Tensor, index: Tensor) -> Tensor:
        if single is not None:
            return x.select(axis, single)
        place = axis % x.dim()
        picked = x.index_select(place, _wrapped(index, x.shape[place]).reshape(-1))
        return picked.reshape([*x.shape[:place], *index.shape, *x.shape[place + 1 :]])

    return compute


@converters.register("GatherElements", since=11)
def gather_elements(op: Operator) -> Compute:
    """``y[…, i, …] = x[…, index[…, i, …], …]`` along ``axis``."""
    axis = op.attribute("axis", 0)
    return lambda x, index: x.gather(axis, _wrapped(index, x.shape[axis]))


@converters.register("GatherND", since=11)
def gather_nd(op: Operator) -> Compute:
    """``y[b…, i…] = x[b…, index[b…, i…, 0], index[b…, i…, 1], …]`` with ``batch_dims`` axes b."""
    batch = op.attribute("batch_dims", 0)

    def compute(x: Tensor, index: Tensor) -> Tensor:
        positions = list(index.long().unbind(-1))
        rank = index.dim() - 1
        for axis in reversed(range(batch)):
            along = [1] * rank
            along[axis] = -1
            positions.insert(0, torch.arange(x.shape[axis], device=x.device).reshape(along))
        return x[tuple(positions)]

    return compute


REDUCTIONS = {"none": "", "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def _reduction_of(op: Operator) -> str:
    name = op.attribute("reduction", "none")
    if name not in REDUCTIONS:
        raise Unconvertible(f"reduction {name!r} is not known")
    return REDUCTIONS[name]


def _scatter(x: Tensor, axis: int, index: Tensor, updates: Tensor, reduction: str) -> Tensor:
    updates = updates.to(x.dtype)
    if not reduction:
        return x.scatter(axis, index, updates)
    return x.scatter_reduce(axis, index, updates, reduce=reduction)


@converters.register("Scatter", since=9)
@converters.register("ScatterElements", since=11)
def scatter_elements(op: Operator) -> Compute:
    """Write ``updates[…, i, …]`` into x, or fold it in, at ``index[…, i, …]`` along ``axis``."""
    axis, reduction = op.attribute("axis", 0), _reduction_of(op)

    def compute(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        return _scatter(x, axis, _wrapped(index, x.shape[axis]), updates, reduction)

    return compute


@converters.register("ScatterND", since=11)
def scatter_nd(op: Operator) -> Compute:
    """Write ``updates[i…]`` into x, or fold it in, at ``x[index[i…, 0], index[i…, 1], …]``.

    Computed on x with the indexed axes flattened into one.
    """
    reduction = _reduction_of(op)

    def compute(x: Tensor, index: Tensor, updates: Tensor) -> Tensor:
        depth = index.shape[-1]
        if not updates.numel():
            return x
        flat = torch.zeros_like(index[..., 0], dtype=torch.int64)
        for axis in range(depth):
            flat = flat * x.shape[axis] + _wrapped(index[..., axis], x.shape[axis])
        rows = x.reshape(*([-1] if depth else [1]), x[(0,) * depth].numel())
        flat = flat.reshape(-1, 1).expand(-1, rows.shape[1])
        return _scatter(rows, 0, flat, updates.reshape(flat.shape), reduction).reshape(x.shape)

    return compute


@converters.register("OneHot", since=9)
def one_hot(op: Operator) -> Compute:
    """``values[1]`` at the index, ``values[0]`` elsewhere, along a new ``axis`` of size ``depth``."""
    axis, read = op.attribute("axis", -1), ints(op, 1)

    def compute(index: Tensor, depth: Tensor, values: Tensor) -> Tensor:
        size = required(read(depth), "depth")[0]
        place = axis % (index.dim() + 1)
        classes = torch.arange(size, device=index.device).reshape(-1, *[1] * (index.dim() - place))
        hit = classes == _wrapped(index, size).unsqueeze(place)
        return torch.where(hit, values[1], values[0])

    return compute


@converters.register("TopK", since=1)
def top_k(op: Operator) -> Compute:
    """The k largest (or smallest) along ``axis``, in order, and where they stood.

    Of equal elements the first comes first, which torch's ``topk`` does not promise.
    """
    axis, largest = op.attribute("axis", -1), bool(op.attribute("largest", 1))
    attribute, read = op.attribute("k"), ints(op, 1)

    def compute(x: Tensor, k: Tensor | None = None) -> Tensor | tuple[Tensor, ...]:
        count = required(read(k), "k")[0] if attribute is None else attribute
        values, places = torch.sort(x, dim=axis, descending=largest, stable=True)
        return (values.narrow(axis, 0, count), places.narrow(axis, 0, count))[: op.n_outputs]

    return compute


@converters.register("NonZero", since=9)
def non_zero(op: Operator) -> Compute:
    """Positions of all elements that are not zero, one column each."""
    return lambda x: torch.nonzero(x).t()


@converters.register("Compress", since=9)
def compress(op: Operator) -> Compute:
    """The slices of ``axis`` (or, without it, the elements) at which the condition holds."""
    axis = op.attribute("axis")

    def compute(x: Tensor, condition: Tensor) -> Tensor:
        kept = torch.nonzero(condition).reshape(-1)
        return x.reshape(-1)[kept] if axis is None else x.index_select(axis, kept)

    return compute


@converters.register("ReverseSequence", since=10)
def reverse_sequence(op: Operator) -> Compute:
    """The first ``lengths[b]`` steps of sequence b in reverse order, the rest as it is."""
    time, batch = op.attribute("time_axis", 0), op.attribute("batch_axis", 1)

    def compute(x: Tensor, lengths: Tensor) -> Tensor:
        steps = torch.arange(x.shape[time], device=x.device).unsqueeze(1)
        source = torch.where(steps < lengths, lengths - 1 - steps, steps)
        x = x.movedim((time, batch), (0, 1))
        column = torch.arange(x.shape[1], device=x.device)
        return x[source, column].movedim((0, 1), (time, batch))

    return compute


@converters.register("Unique", since=11)
def unique(op: Operator) -> Compute:
    """Distinct elements or slices, where each first occurs, which one each is, and how often.

    No gradient passes: what is distinct has no slope.
    """
    axis, in_order = op.attribute("axis"), bool(op.attribute("sorted", 1))

    def compute(x: Tensor) -> tuple[Tensor, ...]:
        flat = x.detach().reshape(-1) if axis is None else x.detach()
        dim = 0 if axis is None else axis
        values, inverse, counts = torch.unique(flat, return_inverse=True, return_counts=True, dim=dim)
        places = torch.arange(flat.shape[dim] - 1, -1, -1, device=x.device)
        first = torch.empty_like(counts).scatter_(0, inverse.flip(0), places)
        if not in_order:
            order = torch.argsort(first)
            rank = torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=x.device))
            values, first, counts = values.index_select(dim, order), first[order], counts[order]
            inverse = rank[inverse]
        return (values, first, inverse, counts)[: op.n_outputs]

    return compute


@converters.register("TensorScatter", since=24)
def tensor_scatter(op: Operator) -> Compute:
    """A cache with new entries written from each sample's own position on, along ``axis``."""
    axis, circular = op.attribute("axis", -2), op.attribute("mode", "linear") == "circular"

    def compute(past: Tensor, update: Tensor, start: Tensor | None = None) -> Tensor:
        dim = axis % past.dim()
        steps = torch.arange(update.shape[dim], device=past.device)
        first = torch.zeros(len(past), dtype=torch.int64, device=past.device) if start is None else start
        places = first.reshape(-1, 1) + steps
        places = places % past.shape[dim] if circular else places
        shape = [1] * past.dim()
        shape[0], shape[dim] = len(past), len(steps)
        return past.scatter(dim, places.reshape(shape).expand_as(update), update)

    return compute
