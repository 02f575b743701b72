"""Several cuts on the way to the budget, each followed by a training, the original always the teacher.

A cut that is small leaves a network that recovers, and what is learnt before the next one tells
better what can go. Each step goes all the way that a job of one cut goes, proofs and all, and its
file is what the next one begins with. Plans and inner tensors to match are the original's throughout.
"""

from __future__ import annotations

from dataclasses import replace

from sosp_core.checkpoints import Kept
from sosp_core.config import FinetuneConfig
from sosp_core.finetune.length import divided
from sosp_core.modes.finish import Besides, Finished, publish, recover
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.part import one_step
from sosp_core.modes.run import Run
from sosp_core.report.step import Step
from sosp_core.select.greedy import schedule
from sosp_core.stages.choose import Choice
from sosp_core.stages.recover import model_of
from sosp_core.stages.rest import Rest
from sosp_core.stages.resume import CUT, plan_codec
from sosp_core.stages.subject import Subject


def gradual(run: Run, subject: Subject, choice: Choice, kept: Kept) -> Outcome:
    """Prune in equal steps of the budget's metric, and train after each.

    Cost: about that of one cut with the same training; each step is proved, written and judged.
    """
    count, config = run.recipe.prune.steps, run.recipe.finetune
    aims = schedule(choice.total, choice.target, count)
    trainings = divided(config, round(len(subject.data) * (1 - config.holdout)), count)
    rest = Rest(subject=subject, choice=choice, model=subject.model, alive=choice.structures.all_alive())
    made: list[Finished] = []
    for number, (aim, training) in enumerate(zip(aims, trainings, strict=True)):
        part = kept if number == count - 1 else kept.part(f"step{number + 1}")
        made.append(_step(one_step(run, number, count), rest, aim, (number + 1) / count, training, part))
        rest = replace(rest, model=model_of(made[-1].content), alive=made[-1].plan.alive)
    steps = tuple(_told(aim, done) for aim, done in zip(aims, made, strict=True))
    return publish(run, subject, choice, _proved(made), Besides(steps=steps))


def _step(run: Run, rest: Rest, aim: int, done: float, training: FinetuneConfig, kept: Kept) -> Finished:
    """Choose, cut and train once, by what earlier steps left."""
    choice = rest.choice
    with run.stage("score"):
        plan = run.once(
            kept, "score", plan_codec(choice), lambda: rest.choose(aim, done, run.progress, run.device)
        )
    with run.stage("cut"):
        slim = run.once(kept, "cut", CUT, lambda: rest.cut(plan, run.device))
    taught = replace(rest.subject, recipe=replace(run.recipe, finetune=training))
    # A short training may end a little further from the original than where it began, on mixtures of
    # samples: by these, nothing would ever be learnt between two cuts.
    return recover(run, taught, choice, plan, slim, kept, last=done < 1)


def _proved(made: list[Finished]) -> Finished:
    """The last result with the largest errors of all proofs that led to it."""
    surgery, write_back = max(f.surgery for f in made), max(f.write_back for f in made)
    return replace(made[-1], surgery=surgery, write_back=write_back)


def _told(aim: int, done: Finished) -> Step:
    return Step(
        target=aim,
        costs=done.plan.after,
        pruned=done.verdict.pruned,
        quality=done.verdict.after,
        training=done.history,
    )
