"""One training in parts is as long as the whole."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sosp_core.config import FinetuneConfig
from sosp_core.finetune.length import divided, epochs_of

COUNTS, SHARES = st.integers(2, 20), st.floats(0, 1, exclude_max=True)


@example(steps=300, count=2, between=1 - 2**-53)
@given(steps=st.integers(0, 10_000), count=COUNTS, between=SHARES)
def test_no_step_is_lost_or_won(steps: int, count: int, between: float) -> None:
    *earlier, last = divided(FinetuneConfig(steps=steps, between=between), 1000, count)
    assert len(earlier) == count - 1
    assert len({part.steps for part in earlier}) == 1
    taken = sum(part.steps or 0 for part in earlier)
    assert taken + (last.steps or 0) == steps
    assert taken <= steps * between * (1 + 1e-12) < taken + count + 1e-6
    assert last.trains == (steps > 0)


@given(epochs=st.none() | st.floats(0, 100), count=COUNTS, between=SHARES, samples=st.integers(0, 10**6))
def test_nor_an_epoch(epochs: float | None, count: int, between: float, samples: int) -> None:
    config = FinetuneConfig(epochs=epochs, between=between)
    parts = [part.epochs or 0.0 for part in divided(config, samples, count)]
    whole = epochs_of(config, samples)
    assert sum(parts) == pytest.approx(whole)
    assert sum(parts[:-1]) == pytest.approx(whole * between)
