"""Which torch computation stands for which ONNX operator.

A *converter* looks at one node once and returns the function that computes it. Weights are not
baked in: the function takes every input of the node as a tensor, so one initializer used by
three nodes stays one parameter. What is static (attributes, integer constants such as axes or
a Reshape target) is read from the ``Operator`` and closed over.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

LATEST = 1_000_000

#: Computes a node: one argument for each input (None where the node leaves it out),
#: one tensor or a tuple of tensors for its outputs.
Compute = Callable[..., "Tensor | tuple[Tensor, ...]"]


@dataclass(frozen=True, kw_only=True)
class Operator:
    """What a converter may know of a node.

    Attributes:
        name: The node's unique name.
        domain: Operator domain; ``""`` for ONNX itself.
        op_type: Operator type.
        opset: Version of the domain that the model imports.
        attributes: Python values (int, float, str, lists of them, arrays for tensors).
        constants: By input position, the value of each input that is an initializer.
        n_inputs: Length of the node's input list.
        n_outputs: Length of the node's output list.
    """

    name: str
    domain: str
    op_type: str
    opset: int
    attributes: Mapping[str, Any]
    constants: Mapping[int, np.ndarray] = field(default_factory=dict)
    n_inputs: int = 1
    n_outputs: int = 1

    def attribute(self, name: str, default: Any = None) -> Any:
        """The attribute, or ``default`` where the node does not set it."""
        return self.attributes.get(name, default)

    def static_ints(self, position: int) -> list[int] | None:
        """The integers of a constant input, or None if that input is absent or computed."""
        value = self.constants.get(position)
        return None if value is None else [int(v) for v in np.ravel(value)]


class Unconvertible(Exception):
    """A converter declines this node; ``str(error)`` says why in a few words."""


#: What torch and converters raise of attributes, or of operands, that an operator does not take.
UNFIT = (
    Unconvertible,
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    RuntimeError,
    AttributeError,
    AssertionError,
)


@dataclass(frozen=True, kw_only=True)
class Converter:
    """A converter and where it is valid.

    Attributes:
        trainable: Input positions whose float constants are weights that training may change.
    """

    op_type: str
    domain: str
    since: int
    until: int
    build: Callable[[Operator], Compute]
    trainable: frozenset[int]

    def overlaps(self, other: Converter) -> bool:
        """Whether both claim some opset."""
        return self.since <= other.until and other.since <= self.until


class ConverterTable:
    """Converters by domain, operator and opset range; two that overlap fail at import."""

    def __init__(self) -> None:
        self._converters: dict[tuple[str, str], list[Converter]] = defaultdict(list)

    def register(
        self,
        op_type: str,
        *,
        since: int = 1,
        until: int = LATEST,
        domain: str = "",
        trainable: tuple[int, ...] = (),
    ) -> Callable[[Callable[[Operator], Compute]], Callable[[Operator], Compute]]:
        """Decorate a converter for ``op_type`` at opsets ``since`` to ``until``."""

        def add(build: Callable[[Operator], Compute]) -> Callable[[Operator], Compute]:
            new = Converter(
                op_type=op_type,
                domain=domain,
                since=since,
                until=until,
                build=build,
                trainable=frozenset(trainable),
            )
            known = self._converters[domain, op_type]
            if clash := next((c for c in known if c.overlaps(new)), None):
                raise RuntimeError(f"{new} overlaps {clash}")
            known.append(new)
            return build

        return add

    def find(self, domain: str, op_type: str, opset: int) -> Converter | None:
        """The converter valid there, if any."""
        for converter in self._converters.get((domain, op_type), ()):
            if converter.since <= opset <= converter.until:
                return converter
        return None

    def all(self) -> list[Converter]:
        """Every converter, sorted by domain, operator and opset."""
        flat = [c for group in self._converters.values() for c in group]
        return sorted(flat, key=lambda c: (c.domain, c.op_type, c.since))


#: The one table; filled by the family modules of this package.
converters = ConverterTable()
