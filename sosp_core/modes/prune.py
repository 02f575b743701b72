"""Mode ``prune``: every hand-over is proved before the next stage begins.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → further forms → report.
"""

from __future__ import annotations

from sosp_core.modes.finish import finish, publish
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.run import Run, Source
from sosp_core.modes.search import search
from sosp_core.stages.choose import choose, offer
from sosp_core.stages.resume import plan_codec
from sosp_core.stages.subject import convert, load


def prune(run: Run, source: Source) -> Outcome:
    """Take structures out of a model under a budget, and let what remains recover."""
    progress, device = run.progress, run.device
    with run.stage("load"):
        subject = load(source.model, source.data, source.evaluation, run.recipe)
    with run.stage("convert"):
        subject, conversion = convert(subject)
        kept = run.kept(subject)
    with run.stage("discover"):
        choice = offer(subject)
    if run.recipe.prune.budget.max_drop is not None:
        return search(run, subject, choice, conversion)
    with run.stage("score"):
        codec = plan_codec(choice)
        plan = run.once(kept, "score", codec, lambda: choose(subject, choice, progress, device))
    return publish(run, subject, choice, finish(run, subject, choice, plan, kept), conversion)
