"""One spelling for the many ways exporters write the same network.

After this, every constant is an initializer of the main graph, no Identity hides an
initializer, what can be computed ahead is computed, functions are inlined, every node has a
unique name, shapes are inferred as far as they can be, every Split of known width says its
sizes, recurrent layers that start from zeros leave that to their operator, and layers share
the tensors of a batch normalisation only if they share their weights.
"""

from __future__ import annotations

import logging
import math

import numpy as np
import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnxscript import optimizer

from sosp_core.errors import ModelInvalid, ModelTooLarge, SospError, WeightsNotFinite
from sosp_core.ir.recurrent import drop_zero_states
from sosp_core.ir.shared import unshare_batchnorm
from sosp_core.ir.sizes import settle_sizes
from sosp_core.ir.split import write_split_sizes
from sosp_core.ir.view import FLOAT_TYPES, constant, values

#: Constants up to this many elements are folded: a transposed weight matrix, yes; a bomb, no.
FOLD_LIMIT = 2**26
#: Operators that make large tensors of small ones; folded only if the result is known to be small.
GROWING = frozenset("Range Tile Expand Pad Resize Upsample OneHot EyeLike".split())
#: Of computing sizes and inferring shapes with them; one for each resize behind another.
SETTLING_ROUNDS = 8
#: What one tensor of one sample may have: 8 GiB in float32.
MOST_ELEMENTS = 2**31


def normalize(model: ir.Model) -> ir.Model:
    """Rewrite ``model`` in place into the normal form, and return it.

    Names of graph inputs, outputs and named nodes survive, as do opsets and metadata.

    Raises:
        ModelInvalid: The graph is not sorted, or shape inference contradicts it.
        WeightsNotFinite: A float initializer holds NaN or infinity.
    """
    # They log each node they decline and each shape they cannot infer; neither is a fault.
    for name in ("onnxscript", "onnx_ir"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        passes.InlinePass()(model)
        passes.RemoveInitializersFromInputsPass()(model)
        passes.TopologicalSortPass()(model)
        passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
        _name_nodes(model.graph)
        passes.IdentityEliminationPass()(model)
        _fold(model)
        _settle(model)
        drop_zero_states(model.graph)
        passes.RemoveUnusedNodesPass()(model)
        passes.ShapeInferencePass(strict_mode=False)(model)
        write_split_sizes(model)
        unshare_batchnorm(model.graph)
    except (ir.passes.PassError, ValueError, RuntimeError, MemoryError) as error:
        cause = error.__cause__ or error
        if isinstance(cause, SospError):
            raise cause from None
        raise ModelInvalid(reason=str(cause).strip().splitlines()[0]) from error
    _name_nodes(model.graph)
    _check_finite(model.graph)
    _check_sizes(model.graph)
    return model


def _settle(model: ir.Model) -> None:
    """Each round makes more shapes known, and with them more sizes."""
    for _ in range(SETTLING_ROUNDS):
        passes.ShapeInferencePass(strict_mode=False)(model)
        if not settle_sizes(model):
            return
        passes.RemoveUnusedNodesPass()(model)
        _fold(model)


def _fold(model: ir.Model) -> None:
    """Compute what can be computed ahead; the results are initializers."""
    optimizer.fold_constants(
        model,
        input_size_limit=FOLD_LIMIT,
        output_size_limit=FOLD_LIMIT,
        onnx_shape_inference=True,
        should_fold=_should_fold,
    )
    passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    passes.IdentityEliminationPass()(model)


def _should_fold(node: ir.Node) -> bool | None:
    """The folder's own choice (None), but for small ConstantOfShape, which it always keeps.

    PyTorch's classic exporter writes every ``F.pad`` as a chain that starts with one.
    """
    if node.op_type in GROWING and not _stays_small(node):
        return False
    if node.op_type != "ConstantOfShape":
        return None
    shape = constant(node.inputs[0])
    return None if shape is None or shape.prod() > 1024 else True


def _stays_small(node: ir.Node) -> bool:
    """Whether the result of an operator that makes much of little is known to be small enough."""
    if node.op_type == "Range":
        start, limit, delta = (
            float(np.ravel(a)[0]) if a is not None else 0.0 for a in map(constant, node.inputs)
        )
        return delta != 0 and abs(limit - start) <= FOLD_LIMIT * abs(delta)
    shape = node.outputs[0].shape
    if shape is None or not shape.is_static():
        return all(
            (a := constant(v)) is None or (a.size <= 64 and np.abs(a).max(initial=0) <= 4096)
            for v in node.inputs[1:]
        )
    return math.prod(d for d in shape.numpy()) <= FOLD_LIMIT


def _check_sizes(graph: ir.Graph) -> None:
    """Refuse tensors that no machine here could hold for a single sample."""
    for value in values(graph):
        if value.shape is None:
            continue
        elements = math.prod(max(d, 1) for d in value.shape if isinstance(d, int))
        if elements > MOST_ELEMENTS:
            raise ModelTooLarge(quantity=f"elements in {value.name!r}", got=elements, limit=MOST_ELEMENTS)


def _name_nodes(graph: ir.Graph) -> None:
    """Give unnamed and equally named nodes a name of their own, by operator and position."""
    taken = {node.name for node in graph if node.name}
    seen: set[str] = set()
    for position, node in enumerate(graph):
        if node.name and node.name not in seen:
            seen.add(node.name)
            continue
        name = base = f"{node.op_type}_{position}" if not node.name else f"{node.name}_{position}"
        suffix = 0
        while name in taken or name in seen:
            suffix += 1
            name = f"{base}_{suffix}"
        node.name = name
        seen.add(name)


def _check_finite(graph: ir.Graph) -> None:
    for name, value in graph.initializers.items():
        if value.const_value is None or value.const_value.dtype not in FLOAT_TYPES:
            continue
        # A sum is finite only if every term is (up to overflow, which float64 excludes), and is
        # an order of magnitude cheaper than a mask. Scalars may be -inf, and so may what hides
        # scores from a softmax: zeros elsewhere.
        array = value.const_value.numpy()
        finite = array.size < 2 or bool(abs(array.sum(dtype="float64")) < float("inf"))
        if not finite and not bool(((array == 0) | (array == float("-inf"))).all()):
            raise WeightsNotFinite(initializer=name)
