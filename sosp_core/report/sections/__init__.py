"""The sections of the page, in reading order: one a file, one template each."""

from __future__ import annotations

from sosp_core.report.section import Maker
from sosp_core.report.sections.budget import budget
from sosp_core.report.sections.expansion import expansion
from sosp_core.report.sections.exports import exports
from sosp_core.report.sections.graph import graph
from sosp_core.report.sections.latency import latency
from sosp_core.report.sections.origin import origin
from sosp_core.report.sections.proofs import proofs
from sosp_core.report.sections.refusals import refusals
from sosp_core.report.sections.stages import stages
from sosp_core.report.sections.summary import summary
from sosp_core.report.sections.training import training
from sosp_core.report.sections.widths import widths

SECTIONS: tuple[Maker, ...] = (
    summary,
    budget,
    expansion,
    latency,
    exports,
    graph,
    widths,
    training,
    refusals,
    proofs,
    stages,
    origin,
)
