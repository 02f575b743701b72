"""Mode ``prune``: every hand-over is proved before the next stage begins.

bytes → model → network → structures → prices → plan → slim model → trained weights → slim
model → benchmark → further forms → report.
"""

from __future__ import annotations

from sosp_core.modes.begin import begin
from sosp_core.modes.finish import finish, publish
from sosp_core.modes.gradual import gradual
from sosp_core.modes.outcome import Outcome
from sosp_core.modes.run import Run, Source
from sosp_core.modes.search import search
from sosp_core.stages.choose import choose
from sosp_core.stages.resume import plan_codec


def prune(run: Run, source: Source) -> Outcome:
    """Take structures out of a model under a budget, and let what remains recover."""
    progress, device = run.progress, run.device
    begun = begin(run, source)
    subject, choice, kept = begun.subject, begun.choice, begun.kept
    if run.recipe.prune.budget.max_drop is not None:
        return search(run, subject, choice, kept)
    if run.recipe.prune.steps > 1:
        return gradual(run, subject, choice, kept)
    with run.stage("score"):
        codec = plan_codec(choice)
        plan = run.once(kept, "score", codec, lambda: choose(subject, choice, progress, device))
    return publish(run, subject, choice, finish(run, subject, choice, plan, kept))
