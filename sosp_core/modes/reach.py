"""Stage ``score`` of the modes that make several models, each from where the one before it got."""

from __future__ import annotations

from sosp_core.checkpoints import Kept
from sosp_core.modes.run import Run
from sosp_core.select.plan import Plan
from sosp_core.stages.choose import Choice, reach
from sosp_core.stages.resume import Leg, leg_codec
from sosp_core.stages.subject import Subject
from sosp_core.stages.trail import Trail


def reach_on(run: Run, subject: Subject, choice: Choice, trail: Trail, target: int, kept: Kept) -> Plan:
    """The plan for a target, as an earlier try left it; the trail ends up where it did then.

    Raises:
        TargetUnreachable: What the rules leave is still too much.
        Cancelled: Before it, or between two rounds.
    """
    before = len(trail.states)

    def make() -> Leg:
        plan = reach(subject, choice, trail, target, run.progress)
        return Leg(plan=plan, states=trail.states[before:])

    with run.stage("score"):
        leg = run.once(kept, "score", leg_codec(choice), make)
    trail.states[before:] = leg.states
    return leg.plan
