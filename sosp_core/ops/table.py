"""The table of slot rules: which operators structure can be followed through."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import onnx_ir as ir

from sosp_core.ops.flow import Flow

#: The domain of ONNX Runtime's own operators.
MICROSOFT = "com.microsoft"

#: Reads the slots of a node's inputs, notes what follows, emits the slots of its outputs.
Rule = Callable[[ir.Node, Flow], None]


class RuleTable:
    """One rule for each operator, valid at every opset; a second registration fails at import."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, str], Rule] = {}

    def register(self, *op_types: str, domain: str = "") -> Callable[[Rule], Rule]:
        """Decorate the rule of one or more operators."""

        def add(rule: Rule) -> Rule:
            for op_type in op_types:
                if (domain, op_type) in self._rules:
                    raise RuntimeError(f"a second rule for {op_type}")
                self._rules[domain, op_type] = rule
            return rule

        return add

    def find(self, node: ir.Node) -> Rule | None:
        """The rule of the node's operator, if there is one."""
        return self._rules.get((node.domain, node.op_type))

    def op_types(self) -> Iterable[tuple[str, str]]:
        """Every (domain, operator) with a rule, sorted."""
        return sorted(self._rules)


#: The one table; filled by the family modules of this package.
rules = RuleTable()
