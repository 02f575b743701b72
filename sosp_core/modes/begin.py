"""What every mode begins with: the model read, its network proved, its structures found."""

from __future__ import annotations

from dataclasses import dataclass

from sosp_core.checkpoints import Kept
from sosp_core.modes.run import Run, Source
from sosp_core.stages.offer import Choice, offer
from sosp_core.stages.subject import Subject, convert, load


@dataclass(frozen=True, kw_only=True)
class Begun:
    """A job that may go on.

    Attributes:
        kept: Checkpoints of this very work.
    """

    subject: Subject
    choice: Choice
    kept: Kept


def begin(run: Run, source: Source) -> Begun:
    """Run the stages ``load``, ``convert`` and ``discover``."""
    with run.stage("load"):
        subject = load(source.model, source.data, source.evaluation, run.recipe)
    with run.stage("convert"):
        subject = convert(subject)
        kept = run.kept(subject)
    with run.stage("discover"):
        choice = offer(subject)
    return Begun(subject=subject, choice=choice, kept=kept)
