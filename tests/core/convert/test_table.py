from __future__ import annotations

import pytest

import sosp_core.convert as families
from sosp_core.convert.table import LATEST, Compute, ConverterTable, Operator, converters

assert families  # importing the package fills the table


def nothing(op: Operator) -> Compute:
    return lambda *tensors: tensors


@pytest.mark.parametrize(
    ("since", "until"), [(1, LATEST), (5, 12), (12, 20), (7, 7)], ids=["around", "low", "high", "within"]
)
def test_two_converters_for_one_opset_are_refused(since: int, until: int) -> None:
    table = ConverterTable()
    table.register("Conv", since=6, until=12)(nothing)
    with pytest.raises(RuntimeError, match=r"Conv.* overlaps .*Conv"):
        table.register("Conv", since=since, until=until)(nothing)


def test_neighbouring_ranges_and_other_domains_do_not_overlap() -> None:
    table = ConverterTable()
    table.register("Gelu", since=1, until=19)(nothing)
    table.register("Gelu", since=20)(nothing)
    table.register("Gelu", domain="com.microsoft")(nothing)
    assert [(c.domain, c.since) for c in table.all()] == [("", 1), ("", 20), ("com.microsoft", 1)]


def test_find_respects_domain_and_range() -> None:
    assert converters.find("", "LayerNormalization", 16) is None
    assert converters.find("", "LayerNormalization", 17) is not None
    assert converters.find("elsewhere", "Conv", 17) is None
    resize_10, resize_11 = (converters.find("", "Resize", opset) for opset in (10, 11))
    assert resize_10 is not None
    assert resize_11 is not None
    assert resize_10.build is not resize_11.build


@pytest.mark.parametrize(
    ("op_type", "positions"),
    [
        ("Conv", {1, 2}),
        ("ConvTranspose", {1, 2}),
        ("BatchNormalization", {1, 2}),
        ("LayerNormalization", {1, 2}),
        ("PRelu", {1}),
        ("MatMul", {0, 1}),
        ("Gather", {0}),
        ("Clip", set()),
        ("Div", set()),
    ],
)
def test_weights_are_at_the_positions_named(op_type: str, positions: set[int]) -> None:
    converter = converters.find("", op_type, 22)
    assert converter is not None
    assert converter.trainable == positions


def test_every_builder_has_a_name_for_tracebacks() -> None:
    assert all(c.build.__name__.isidentifier() and c.build.__name__ != "build" for c in converters.all())
