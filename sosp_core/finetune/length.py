"""How long a fine-tuning is, where the recipe leaves it to the data."""

from __future__ import annotations

from sosp_core.config import FinetuneConfig

#: What a run of its own length shows the network: so many samples, within so many passes.
VIEWS_SEEN, FEWEST_EPOCHS, MOST_EPOCHS = 160_000, 1.0, 45.0


def epochs_of(config: FinetuneConfig, samples: int) -> float:
    """Passes over the training samples: as asked for, or few samples often and many once."""
    if config.epochs is not None:
        return config.epochs
    return min(max(VIEWS_SEEN / samples, FEWEST_EPOCHS), MOST_EPOCHS)
