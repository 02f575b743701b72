"""Graphs and exports as one list, for what has to hold of all of them."""

from __future__ import annotations

import pytest

from tests.zoo.built import Built
from tests.zoo.graphs import GRAPHS, Graph
from tests.zoo.graphs import build as build_graph
from tests.zoo.networks import EXPORTS, Export, build_export

Case = Graph | Export
ALL: tuple[Case, ...] = (*GRAPHS, *EXPORTS)


def build(case: Case) -> Built:
    return build_graph(case) if isinstance(case, Graph) else build_export(case)


each_case = pytest.mark.parametrize("case", ALL, ids=lambda case: case.name)
