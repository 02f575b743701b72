"""The rule against counts worked out by hand, and the chance against enumeration."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from sosp_core.bottleneck.detect import GroupShare, diagnose
from sosp_core.structures.structures import Alive, Structures
from tests.zoo.graphs import CASES
from tests.zoo.graphs import build as build_graph


@pytest.fixture(scope="module")
def chain() -> Structures:
    return build_graph(CASES["conv_chain"]).structures


def mask(structures: Structures, removed: list[int]) -> Alive:
    alive = structures.all_alive()
    for group, n in zip(structures.groups, removed, strict=True):
        alive[group.members[:n]] = False
    return alive


def read(structures: Structures, removed: list[int], threshold: float = 0.5) -> list[GroupShare]:
    floors = dict.fromkeys(range(len(structures.groups)), 1)
    return list(diagnose(structures, mask(structures, removed), floors, threshold).groups)


def ones(sizes: list[int]) -> dict[int, int]:
    return dict.fromkeys(range(len(sizes)), 1)


def test_equal_shares_are_no_bottleneck(chain: Structures) -> None:
    sizes = [len(g.members) for g in chain.groups]
    found = diagnose(chain, mask(chain, [n // 2 for n in sizes]), ones(sizes), 0.5)
    assert found.bottlenecks == ()
    assert found.share == pytest.approx(sum(n // 2 for n in sizes) / sum(sizes))


def test_what_is_left_alone_is_a_bottleneck_and_is_named(chain: Structures) -> None:
    sizes = [len(g.members) for g in chain.groups]
    spared = sizes.index(max(sizes))
    shares = read(chain, [0 if i == spared else n - 1 for i, n in enumerate(sizes)])
    assert [s.bottleneck for s in shares] == [i == spared for i in range(len(sizes))]
    assert shares[spared].share == 0
    assert shares[spared].name in shares[spared].nodes


def test_what_may_not_lose_more_is_not_blamed_for_it(chain: Structures) -> None:
    sizes = [len(g.members) for g in chain.groups]
    alive = mask(chain, [0, *(n - 1 for n in sizes[1:])])
    free = diagnose(chain, alive, ones(sizes), 0.5).groups[0]
    held = diagnose(chain, alive, {**ones(sizes), 0: sizes[0]}, 0.5).groups[0]
    assert free.bottleneck
    assert free.expected > 1
    assert (held.expected, held.bottleneck) == (0, False)


def test_what_something_else_decided_about_is_not_read() -> None:
    structures = build_graph(CASES["unet"]).structures
    sizes = [len(g.members) for g in structures.groups]
    alive = mask(structures, [0, 0, sizes[2] - 1])
    found = diagnose(structures, alive, {1: 1, 2: 1}, 0.5)
    assert found.bottlenecks == (1,)
    assert [g.name for g in found.groups] == [g.name for g in structures.groups[1:]]
    assert found.share == pytest.approx((sizes[2] - 1) / (sizes[1] + sizes[2]))


def test_little_evidence_is_none(chain: Structures) -> None:
    """Where hardly anything went, none of a small group proves nothing."""
    sizes = [len(g.members) for g in chain.groups]
    largest = sizes.index(max(sizes))
    shares = read(chain, [1 if i == largest else 0 for i in range(len(sizes))])
    assert not any(s.bottleneck for s in shares if s.expected < 0.5)
    assert any(s.expected < 0.5 for s in shares)


def test_the_chance_is_that_of_drawing_by_lot(chain: Structures) -> None:
    sizes = [len(g.members) for g in chain.groups]
    removed = [1, *(n // 2 for n in sizes[1:])]
    gone, (first, *_) = sum(removed), read(chain, removed)
    group = set(chain.groups[0].members.tolist())
    drawn = [len(group & set(some)) for some in combinations(range(chain.count), gone)]
    assert first.chance == pytest.approx(np.mean([n <= removed[0] for n in drawn]), rel=1e-9)


def test_a_higher_threshold_finds_no_less(chain: Structures) -> None:
    sizes = [len(g.members) for g in chain.groups]
    removed = [max(0, n // 2 - 1 + i) for i, n in enumerate(sizes)]
    found = [{s.name for s in read(chain, removed, t) if s.bottleneck} for t in (0.2, 0.5, 0.8, 1.0)]
    assert all(few <= more for few, more in pairwise(found))
