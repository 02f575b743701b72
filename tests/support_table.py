"""``docs/operators.md``, made from the tables that decide: ``python -m tests.support_table``."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from sosp_core.convert.absent import DOMAINS, REASONS
from sosp_core.convert.shim import import_torchvision
from sosp_core.convert.table import LATEST, Converter, converters
from sosp_core.ops.table import rules
from sosp_core.structures import discover
from tests.core.convert.node_tests import TESTS

assert discover  # importing it fills the table of slot rules

PAGE = Path(__file__).parents[1] / "docs" / "operators.md"
ONNX_RUNTIME = "com.microsoft"

HEAD = """\
# Operators

Made by `python -m tests.support_table` from the tables the code itself reads; a test compares.

*Opsets*: where the converter is valid. *Converter*: `own`, or `onnx2torch` for operators without
weights that our table lacks. *Channels*: `followed` if structures are followed through the
operator, `frozen` if what reaches it stays as it is. *Node tests*: of ONNX's own tests of single
nodes in types that torch has, how many pass; each runs with constant and with computed inputs.
"""


def render() -> str:
    """The page."""
    floats = [t for t in TESTS if t.is_float]
    passing = sum(t.reason is None for t in floats)
    share = (
        f"Of {len(floats)} node tests with floating-point numbers {passing} pass "
        f"({100 * passing / len(floats):.1f} %).\n"
    )
    parts = [
        HEAD,
        share,
        "## ONNX\n",
        _table(""),
        "## ONNX Runtime (`com.microsoft`)\n",
        "Each is tested against ONNX Runtime itself.\n",
        _table(ONNX_RUNTIME),
        "## Node tests that fail\n",
        _failures(),
        "## Refused\n",
        "A model with one of these is refused, every node of it named; other operators have no converter.\n",
        _refused(),
    ]
    return "\n".join(parts)


def _table(domain: str) -> str:
    own: dict[str, list[Converter]] = defaultdict(list)
    for converter in converters.all():
        if converter.domain == domain:
            own[converter.op_type].append(converter)
    followed = {op_type for where, op_type in rules.op_types() if where == domain}
    borrowed = _borrowed() - set(own) - set(REASONS) if domain == "" else set()
    rows = []
    for op_type in sorted(set(own) | borrowed):
        opsets = ", ".join(_range(c) for c in own.get(op_type, ())) or "as onnx2torch"
        tests = [t for t in TESTS if (t.node.domain, t.node.op_type) == (domain, op_type)]
        passed = sum(t.reason is None for t in tests)
        rows.append(
            (
                op_type,
                opsets,
                "own" if op_type in own else "onnx2torch",
                "followed" if op_type in followed else "frozen",
                f"{passed}/{len(tests)}" if tests else "none",
            )
        )
    return _markdown(("Operator", "Opsets", "Converter", "Channels", "Node tests"), rows)


def _range(converter: Converter) -> str:
    return f"{converter.since}+" if converter.until == LATEST else f"{converter.since} to {converter.until}"


def _borrowed() -> set[str]:
    """Operators that onnx2torch converts in ONNX's own domain."""
    import_torchvision()
    from onnx2torch.node_converters.registry import _CONVERTER_REGISTRY

    return {description.operation_type for description in _CONVERTER_REGISTRY if description.domain == ""}


def _failures() -> str:
    rows = sorted({(t.name, t.reason) for t in TESTS if t.reason is not None})
    return _markdown(("Test", "Why"), [(name, str(reason)) for name, reason in rows])


def _refused() -> str:
    rows = [
        *sorted(REASONS.items()),
        *((f"all of `{domain}`", why) for domain, why in sorted(DOMAINS.items())),
    ]
    return _markdown(("Operator", "Why"), rows)


def _markdown(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = [columns, tuple("---" for _ in columns), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
