"""A budget on quality: as small as the judged metric allows, found by trying.

Shares are bisected with short fine-tunings; the one that comes of it gets the whole one, and steps
back if it then misses. All tries share their scores: a plan goes on from the nearest larger one.
"""

from __future__ import annotations

from dataclasses import replace

from sosp_core.checkpoints import Kept
from sosp_core.config import FinetuneConfig
from sosp_core.finetune.length import epochs_of
from sosp_core.modes.finish import Besides, Finished, finish, publish
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.part import one_model
from sosp_core.modes.reach import reach_on
from sosp_core.modes.run import Run
from sosp_core.select.search import FINALS, TRIES, bisect, verify
from sosp_core.stages.choose import Choice
from sosp_core.stages.subject import Subject
from sosp_core.stages.trail import Trail

#: Of the whole fine-tuning, for a try.
SHORT = 0.15


def search(run: Run, subject: Subject, choice: Choice, kept: Kept) -> Outcome:
    """Compress until the quality falls by ``max_drop``.

    Cost: at most ``TRIES`` short fine-tunings and ``FINALS`` whole ones.
    """
    most = run.recipe.prune.budget.max_drop or 0.0
    trail = Trail(subject, choice, run.progress, run.device)
    count, made = TRIES + FINALS, 0
    last: list[Finished] = []

    def attempt(keep: float, judged: Subject) -> float:
        nonlocal made
        own, part = one_model(run, made, count), kept.part(f"model{made + 1}")
        made += 1
        target = max(choice.target, int(choice.total * keep))
        plan = reach_on(own, judged, choice, trail, target, part)
        last[:] = [finish(own, judged, choice, plan, part)]
        return last[0].drop

    short = shortened(run.recipe.finetune, len(subject.data))
    quick = replace(subject, recipe=replace(run.recipe, finetune=short))
    least = choice.target / choice.total
    tried = bisect(lambda keep: attempt(keep, quick), most, least)
    finals = verify(lambda keep: attempt(keep, subject), most, tried, least)
    return publish(run, subject, choice, last[0], Besides(tries=(*tried, *finals)))


def shortened(config: FinetuneConfig, samples: int) -> FinetuneConfig:
    """A fine-tuning that tells how a plan will do, not how well."""
    if config.steps is not None:
        return replace(config, steps=round(config.steps * SHORT) or min(config.steps, 1))
    epochs = epochs_of(config, samples)
    return replace(config, epochs=max(min(epochs, 1.0), epochs * SHORT))
