"""Benchmark two model files."""

from __future__ import annotations

from pathlib import Path

from sosp_core.bench.compare import Comparison, compare
from sosp_core.config import BenchmarkConfig
from sosp_core.data.probe import probe_feeds
from sosp_core.errors import ModelInvalid
from sosp_core.ir.interface import interface
from sosp_core.ir.load import load_model


def compare_files(
    before: Path, after: Path, config: BenchmarkConfig, data: Path | None = None
) -> list[Comparison]:
    """Time two models with the same inputs on the same samples.

    Raises:
        ModelInvalid: Their inputs differ.
        ModelError: A file is no usable model.
    """
    models = [load_model(path) for path in (before, after)]
    ports = [interface(model) for model in models]
    if ports[0].inputs != ports[1].inputs:
        raise ModelInvalid(reason=f"{before.name} and {after.name} take different inputs")
    feeds = probe_feeds(ports[0], data, ports[0].batch or max(config.batch_sizes))
    return list(compare(before.read_bytes(), after.read_bytes(), feeds, config, fixed_batch=ports[0].batch))
