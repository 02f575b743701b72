"""A few samples that a model accepts: real ones, or random where it does not matter."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from sosp_core.data.dataset import Array, load_dataset
from sosp_core.errors import DataMismatch
from sosp_core.ir.interface import Interface, Port


def probe_feeds(ports: Interface, data: Path | None, samples: int) -> dict[str, Array]:
    """Inputs by name, ``samples`` of each.

    Args:
        ports: What the model takes.
        data: Where to take the samples from; None draws random numbers.
        samples: How many; fewer if the data have fewer.

    Raises:
        DataMismatch: An inner dimension is dynamic and there are no data to fix it.
    """
    if data is not None:
        return dict(load_dataset(data, ports, limit=samples).inputs)
    rng = np.random.default_rng(0)
    return {port.name: _random(port, samples, rng) for port in ports.inputs}


def _random(port: Port, batch: int, rng: np.random.Generator) -> Array:
    dims = [batch, *port.shape[1:]]
    dynamic = [str(d) for d in dims if not isinstance(d, int)]
    if dynamic:
        raise DataMismatch(
            field=port.name,
            expected="data that fix its dynamic dimensions",
            got=f"dynamic {', '.join(dynamic)}",
        )
    shape = [int(d) for d in dims]
    if port.dtype.kind in "iu":
        return rng.integers(0, 2, shape).astype(port.dtype)
    if port.dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    return rng.standard_normal(shape).astype(port.dtype)
