"""Latency of two models, measured so that the machine's moods hit both alike.

Both sessions live in one process with spinning off and take turns in ABBA blocks; the ratio is
taken block by block, and its interval comes from a bootstrap over blocks. On a loaded machine
two sequential runs of the *same* model differed by up to 27 %, interleaved ones by 4.5 %.

Turns do not help where more is to do than there are cores: the longer run is interrupted more often.
With four processes on two cores a network 1.65 times as fast by its quickest runs was 1.9 to 3.3 times
as fast by the clock, and 1.70 times by the processor time of its thread, which then counts.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime as ort
from numpy.typing import NDArray

from sosp_core.config import BenchmarkConfig
from sosp_core.runtime.session import CPU, Array, open_session

WARM_UP_RUNS = 5
RUNS_IN_A_BLOCK = 3
FEWEST_BLOCKS = 8
MOST_BLOCKS = 400
NARROW = 0.02  # stop early once the interval is this narrow
RESAMPLES = 1000
#: From this share of its time on that a thread has had no core, the clock says more about others.
BUSY = 0.1

Spread = tuple[float, float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Latency:
    """One model at one setting; seconds.

    Attributes:
        throughput: Samples per second at the median.
        spread: Percentiles 5, 25, 50, 75 and 95; None where only the others were noted.
    """

    median: float
    p95: float
    best: float
    throughput: float
    spread: Spread | None = None


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Two models at one setting.

    Attributes:
        speedup: Median over blocks of (time of the first / time of the second): above 1, the
            second is faster. Where the machine was ``busy``, of processor times.
        speedup_low: Lower end of its 95 % interval.
        speedup_high: Upper end.
        runs: Timed runs of each model.
        waited: Share of the runs' time that their thread had no core for; None where that is not
            known, or several threads or another device do the work.
    """

    batch_size: int
    threads: int
    provider: str
    before: Latency
    after: Latency
    speedup: float
    speedup_low: float
    speedup_high: float
    runs: int
    waited: float | None = None

    @property
    def busy(self) -> bool:
        """Whether others had so much of the machine that times by the clock do not compare the models."""
        return self.waited is not None and self.waited > BUSY

    @property
    def conclusive(self) -> bool:
        """Whether the interval excludes "no difference"."""
        return self.speedup_low > 1 or self.speedup_high < 1

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON; times in seconds."""
        return {**asdict(self), "conclusive": self.conclusive}


def compare(
    before: ir.Model | bytes,
    after: ir.Model | bytes,
    feeds: Mapping[str, Array],
    config: BenchmarkConfig,
    *,
    fixed_batch: int | None = None,
    seed: int = 0,
) -> Iterator[Comparison]:
    """Measure every combination of the recipe's threads and batch sizes.

    Args:
        before: The original model.
        after: The slim model, with the same inputs.
        feeds: Real samples by input name; repeated to fill a batch.
        config: What to measure.
        fixed_batch: The only batch size the models take, if they are fixed to one.
        seed: Draws the order within blocks and the bootstrap.
    """
    sizes = (fixed_batch,) if fixed_batch else config.batch_sizes
    for threads in config.threads:
        sessions = [open_session(m, threads=threads, providers=config.providers) for m in (before, after)]
        for size in sizes:
            batch = {name: fill(array, size) for name, array in feeds.items()}
            yield _compare(sessions, batch, config, size, threads, seed)


def fill(array: Array, size: int) -> Array:
    """Samples repeated to fill a batch."""
    return np.ascontiguousarray(np.take(array, np.arange(size) % len(array), axis=0))


@dataclass(frozen=True)
class Block:
    """Some runs of two models, in turns.

    Attributes:
        seconds: Of each run by the clock, by model.
        processor: Seconds that the thread had a core for, all runs together, by model.
    """

    seconds: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))
    processor: list[float] = field(default_factory=lambda: [0.0, 0.0])


def _compare(
    sessions: list[ort.InferenceSession],
    batch: Mapping[str, Array],
    config: BenchmarkConfig,
    size: int,
    threads: int,
    seed: int,
) -> Comparison:
    bound = [bind(session, batch) for session in sessions]
    for _ in range(WARM_UP_RUNS):
        for session, binding in zip(sessions, bound, strict=True):
            session.run_with_iobinding(binding)
    provider = sessions[1].get_providers()[0]
    alone = threads == 1 and provider == CPU[0]
    rng = np.random.default_rng(seed)
    times: list[Block] = []
    started = time.perf_counter()
    while True:
        order = (0, 1, 1, 0) if rng.random() < 0.5 else (1, 0, 0, 1)
        block = Block()
        for which in order:
            began = time.thread_time()
            for _ in range(RUNS_IN_A_BLOCK):
                block.seconds[which].append(timed(sessions[which], bound[which]))
            block.processor[which] += time.thread_time() - began
        times.append(block)
        elapsed = time.perf_counter() - started
        if elapsed >= config.max_time_s or len(times) >= MOST_BLOCKS:
            break
        if len(times) >= FEWEST_BLOCKS and elapsed >= config.min_time_s:
            _, low, high = _ratio(times, alone, rng)
            if high - low < NARROW * low:
                break
    speedup, low, high = _ratio(times, alone, rng)
    before, after = (_latency([t for b in times for t in b.seconds[which]], size) for which in (0, 1))
    return Comparison(
        batch_size=size,
        threads=threads,
        provider=provider,
        before=before,
        after=after,
        speedup=speedup,
        speedup_low=low,
        speedup_high=high,
        runs=len(times) * 2 * RUNS_IN_A_BLOCK,
        waited=waited(times) if alone else None,
    )


def bind(session: ort.InferenceSession, batch: Mapping[str, Array]) -> ort.IOBinding:
    """Inputs bound once, so that only the model is timed and not the copying of its feed."""
    binding = session.io_binding()
    wanted = {i.name for i in session.get_inputs()}
    for name, array in batch.items():
        if name in wanted:
            binding.bind_cpu_input(name, array)
    for output in session.get_outputs():
        binding.bind_output(output.name)
    return binding


def timed(session: ort.InferenceSession, binding: ort.IOBinding) -> float:
    """Seconds of one run."""
    started = time.perf_counter()
    session.run_with_iobinding(binding)
    return time.perf_counter() - started


def waited(times: Sequence[Block]) -> float | None:
    """Share of the time of all runs that their thread had no core for.

    None on virtual machines that count processor time in steps longer than a run.
    """
    if not all(min(block.processor) > 0 for block in times):
        return None
    by_clock = sum(sum(runs) for block in times for runs in block.seconds)
    return max(0.0, 1 - sum(sum(block.processor) for block in times) / by_clock)


def _ratio(times: Sequence[Block], alone: bool, rng: np.random.Generator) -> tuple[float, float, float]:
    """Median block ratio and its 95 % bootstrap interval; by processor time on a busy machine.

    Args:
        times: Some blocks.
        alone: Whether all is done by the thread that was timed.
        rng: Draws the bootstrap.
    """
    if alone and (waited(times) or 0.0) > BUSY:
        each = [block.processor[0] / block.processor[1] for block in times]
    else:
        each = [float(np.median(block.seconds[0]) / np.median(block.seconds[1])) for block in times]
    ratios: NDArray[np.float64] = np.array(each)
    drawn = rng.integers(0, len(ratios), size=(RESAMPLES, len(ratios)))
    medians = np.median(ratios[drawn], axis=1)
    low, high = np.percentile(medians, [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def _latency(seconds: list[float], size: int) -> Latency:
    median = float(np.median(seconds))
    p5, p25, p50, p75, p95 = map(float, np.percentile(seconds, [5, 25, 50, 75, 95]))
    return Latency(
        median=median,
        p95=p95,
        best=min(seconds),
        throughput=size / median,
        spread=(p5, p25, p50, p75, p95),
    )
