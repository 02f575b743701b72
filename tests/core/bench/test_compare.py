"""What a comparison says about itself; no time is asserted beyond its order."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sosp_core.bench.compare import (
    FEWEST_BLOCKS,
    RUNS_IN_A_BLOCK,
    Block,
    Comparison,
    _ratio,
    compare,
    waited,
)
from sosp_core.bench.pair import compare_files
from sosp_core.config import BenchmarkConfig
from sosp_core.errors import ModelInvalid
from sosp_core.stages.judge import reservations
from tests.core.digits import INPUT, digits, digits_model, exported, trained
from tests.zoo.graphs import CASES, as_model, content_of

QUICK = BenchmarkConfig(batch_sizes=(1, 3), threads=(1,), min_time_s=0.05, max_time_s=0.3)
FEEDS = {INPUT: digits()[0][:2]}


def require_sane(found: Comparison) -> None:
    assert 0 < found.speedup_low <= found.speedup <= found.speedup_high
    for side in (found.before, found.after):
        assert 0 < side.best <= side.median <= side.p95
        assert side.throughput == pytest.approx(found.batch_size / side.median)
    assert found.runs % (2 * RUNS_IN_A_BLOCK) == 0
    assert found.provider == "CPUExecutionProvider"


def test_a_model_is_as_fast_as_itself() -> None:
    results = list(compare(digits_model(), digits_model(), FEEDS, QUICK))
    assert [(r.batch_size, r.threads) for r in results] == [(1, 1), (3, 1)]
    for found in results:
        require_sane(found)
        # Runs interleave, so a busy machine slows both: seen within 5 %, never by half.
        assert 0.5 < found.speedup < 2
        assert found.runs >= FEWEST_BLOCKS or found.speedup_high > found.speedup_low


def test_every_combination_is_measured() -> None:
    config = BenchmarkConfig(batch_sizes=(1, 2), threads=(1, 2), min_time_s=0.01, max_time_s=0.02)
    results = list(compare(digits_model(), digits_model(), FEEDS, config))
    assert [(r.threads, r.batch_size) for r in results] == [(1, 1), (1, 2), (2, 1), (2, 2)]


def test_a_fixed_batch_is_the_only_one() -> None:
    fixed = exported(trained(), batch=8)
    (found,) = compare(fixed, fixed, FEEDS, QUICK, fixed_batch=8)
    assert found.batch_size == 8
    require_sane(found)


def test_a_wide_network_is_slower_than_a_narrow_one(tmp_path: Path) -> None:
    """A factor of some hundred in work shows on any machine."""
    text = """(float[N,64] x) => (float[N,64] y) <float[64,{h}] w, float[{h},64] v>
    {{ t = MatMul(x, w)  y = MatMul(t, v) }}"""
    paths = []
    for h in (4096, 8):
        path = tmp_path / f"{h}.onnx"
        path.write_bytes(as_model(text.format(h=h), 17).SerializeToString())
        paths.append(path)
    config = BenchmarkConfig(batch_sizes=(16,), min_time_s=0.05, max_time_s=0.3)
    (found,) = compare_files(paths[0], paths[1], config)
    require_sane(found)
    assert found.speedup > 1
    assert found.conclusive
    assert found.to_json()["conclusive"] is True


def blocks(seconds: tuple[float, float], processor: tuple[float, float]) -> list[Block]:
    both = ([seconds[0]] * 6, [seconds[1]] * 6)
    return [Block(seconds=both, processor=[6 * processor[0], 6 * processor[1]]) for _ in range(FEWEST_BLOCKS)]


def test_on_a_busy_machine_processor_time_counts() -> None:
    """The longer run meets others more often: by the clock it is four times as long, by work twice."""
    rng = np.random.default_rng(0)
    quiet, busy = blocks((2.02, 1.01), (2.0, 1.0)), blocks((8.0, 2.0), (2.0, 1.0))
    assert waited(quiet) == pytest.approx(0.0099, abs=1e-4)
    assert waited(busy) == pytest.approx(0.7)
    assert _ratio(quiet, True, rng)[0] == 2.0
    assert _ratio(busy, True, rng) == (2.0, 2.0, 2.0)
    assert _ratio(busy, False, rng)[0] == 4.0, "what several threads do, the first of them only awaits"


def test_processor_time_that_stands_still_says_nothing() -> None:
    coarse = blocks((8.0, 2.0), (0.0, 0.0))
    assert waited(coarse) is None
    assert _ratio(coarse, True, np.random.default_rng(0))[0] == 4.0


@pytest.fixture
def crowd() -> Iterator[None]:
    """Three processes for every core."""
    code = "while True: pass"
    others = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(3 * (os.cpu_count() or 1))]
    yield
    for other in others:
        other.kill()
        other.wait()


@pytest.mark.usefixtures("crowd")
def test_a_comparison_on_a_busy_machine_says_so() -> None:
    """Runs of some milliseconds; those of a tenth of one are over before their thread is sent away."""
    config = replace(QUICK, batch_sizes=(1024,), threads=(1, 2), max_time_s=2.0, min_time_s=1.0)
    alone, together = compare(digits_model(), digits_model(), FEEDS, config)
    assert alone.busy
    assert alone.to_json()["waited"] == alone.waited
    assert [w for w in reservations((alone,)) if w.startswith("busy: for ")]
    assert together.waited is None
    assert not together.busy


def test_models_with_other_inputs_cannot_be_compared(tmp_path: Path) -> None:
    one, other = tmp_path / "one.onnx", tmp_path / "other.onnx"
    one.write_bytes(digits_model())
    other.write_bytes(content_of(CASES["conv_chain"]))
    with pytest.raises(ModelInvalid, match="take different inputs"):
        compare_files(one, other, QUICK)


def test_samples_are_repeated_to_fill_a_batch() -> None:
    config = BenchmarkConfig(batch_sizes=(5,), min_time_s=0.01, max_time_s=0.02)
    (found,) = compare(digits_model(), digits_model(), {INPUT: np.zeros((2, 1, 8, 8), np.float32)}, config)
    assert found.batch_size == 5
