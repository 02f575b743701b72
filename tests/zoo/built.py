"""A model on its way to the knife: normalised, observed, discovered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from hypothesis import strategies as st

from sosp_core.ir.interface import Port, interface
from sosp_core.ir.load import load_model
from sosp_core.ir.normalize import normalize
from sosp_core.runtime.observe import Shapes, observe_shapes
from sosp_core.runtime.session import Array
from sosp_core.structures.discover import discover
from sosp_core.structures.structures import Alive, Structures

SAMPLES = 3


@dataclass(frozen=True, kw_only=True)
class Built:
    """A model with its structures, and inputs to compare it on."""

    model: ir.Model
    feeds: dict[str, Array]
    shapes: Shapes
    structures: Structures


def prepare(content: bytes, protect: Sequence[str] = (), seed: int = 0, samples: int = SAMPLES) -> Built:
    model = normalize(load_model(content))
    ports = interface(model)
    feeds = random_feeds(ports.inputs, ports.batch or samples, seed)
    shapes = observe_shapes(model, feeds)
    return Built(model=model, feeds=feeds, shapes=shapes, structures=discover(model, shapes, protect))


def random_feeds(ports: Sequence[Port], samples: int, seed: int) -> dict[str, Array]:
    rng = np.random.default_rng(seed)
    feeds: dict[str, Array] = {}
    for port in ports:
        shape = (samples, *(int(d) for d in port.shape[1:]))
        numbers = rng.standard_normal(shape) if port.dtype.kind == "f" else rng.integers(0, 4, shape)
        feeds[port.name] = numbers.astype(port.dtype)
    return feeds


def random_mask(structures: Structures, seed: int, share: float = 0.5) -> Alive:
    """Each structure stays with probability ``share``; every group keeps at least one."""
    rng = np.random.default_rng(seed)
    alive = rng.random(structures.count) < share
    for group in structures.groups:
        if not alive[group.members].any():
            alive[rng.choice(group.members)] = True
    return alive


@st.composite
def masks(draw: st.DrawFn, structures: Structures) -> Alive:
    """A mask under which every group keeps at least one structure; shrinks to cutting little."""
    alive = structures.all_alive()
    for group in structures.groups:
        most = len(group.members) - 1
        if most:
            cut = draw(st.sets(st.integers(0, most), max_size=most), label=group.name)
            alive[group.members[sorted(cut)]] = False
    return alive
