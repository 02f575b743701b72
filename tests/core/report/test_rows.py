"""Rows of a report in words."""

from __future__ import annotations

import pytest

from sosp_core.bench.compare import Comparison, Latency
from sosp_core.report.report import _latency_row


@pytest.mark.parametrize(
    ("speedup", "low", "high", "told"),
    [
        (2.0, 1.8, 2.5, "2.00x faster [1.80, 2.50]"),
        (0.5, 0.4, 0.8, "2.00x slower [1.25, 2.50]"),
        (1.01, 0.9, 1.1, "no difference beyond noise [0.90, 1.10]"),
    ],
)
def test_an_interval_is_in_the_units_of_its_ratio(speedup: float, low: float, high: float, told: str) -> None:
    side = Latency(median=1e-3, p95=1e-3, best=1e-3, throughput=1e3)
    found = Comparison(
        **{"batch_size": 1, "threads": 1, "provider": "CPUExecutionProvider", "runs": 6},
        **{"before": side, "after": side, "speedup": speedup, "speedup_low": low, "speedup_high": high},
    )
    assert _latency_row(found)[-1] == told
