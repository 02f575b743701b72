"""How long a fine-tuning is, where the recipe leaves it to the data."""

from __future__ import annotations

from dataclasses import replace

from sosp_core.config import FinetuneConfig

#: What a run of its own length shows the network: so many samples, within so many passes.
VIEWS_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 160_000, 1.0, 45.0


def epochs_of(config: FinetuneConfig, samples: int) -> float:
    """Passes over the training samples: as asked for, or few samples often and many once."""
    if config.epochs is not None:
        return config.epochs
    return min(max(VIEWS_SEEN / max(samples, 1), FEWEST_EPOCHS), MOST_EPOCHS)


def divided(config: FinetuneConfig, samples: int, count: int) -> list[FinetuneConfig]:
    """One training in ``count`` parts, at least two: ``between`` of it in all but the last, alike.

    Counted in epochs, each part is rounded up to whole optimiser steps when it runs.
    """
    earlier, share = count - 1, config.between / (count - 1)
    if config.steps is not None:
        # The last has a step in any case, whatever rounding makes of a ``between`` next to 1.
        each = max(0, min(int(config.steps * share), (config.steps - 1) // earlier))
        steps = [*[each] * earlier, config.steps - each * earlier]
        return [replace(config, steps=n) for n in steps]
    epochs = epochs_of(config, samples)
    return [replace(config, epochs=epochs * part) for part in (*[share] * earlier, 1 - config.between)]
