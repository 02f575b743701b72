"""``MODEL_CARD.md``: what a person who meets the slim model without its report has to know."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sosp_core.report.report import Report

#: Characters that Markdown could take for markup, within a cell of a table.
MARKUP = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>|#~"})


def render_card(report: Report) -> str:
    """The card as Markdown, with the front matter that model hubs read."""
    return "\n".join(
        (
            *_front_matter(report),
            "# Model card",
            "",
            "An ONNX model made smaller by second-order structured pruning. Its inputs and outputs are",
            f"those of the original, whose SHA-256 is `{report.model_sha256}`.",
            "",
            "## Before and after",
            "",
            f"Judged on {report.samples_judged} samples of the {report.judged_on} data.",
            "",
            *_table(("", "before", "after", "change"), report.rows()),
            "",
            *_notes(report),
            "## How it was made",
            "",
            *_made(report),
            "",
            "## What it is not known to do",
            "",
            "- Its quality on data unlike the samples above: pruning can hurt rare classes and inputs more",
            "  than the mean shows. Judge it on data of your own before you ship it.",
            "- Intended use, licence and limits of the original apply to it unchanged.",
            "",
        )
    )


def _front_matter(report: Report) -> Iterable[str]:
    kinds = ", ".join(("onnx", "pruned", *(form.kind for form in report.exports)))
    return ("---", "library_name: onnx", f"tags: [{kinds}]", "---", "")


def _notes(report: Report) -> Iterable[str]:
    if not report.warnings:
        return ()
    return ("## Notes", "", *(f"- {note.translate(MARKUP)}" for note in report.warnings), "")


def _made(report: Report) -> Iterable[str]:
    prune, training = report.recipe["prune"], report.training
    budget = prune["budget"]
    left = f"at most {budget['at_most']:,}" if budget["at_most"] else f"{budget['keep'] or 0.5:.0%}"
    if budget["max_drop"] or prune["sweep"]:
        left = "as little as the quality allows" if budget["max_drop"] else "one share of a sweep"
    yield f"- Criterion `{prune['method']}`, {prune['rounds']} rounds; {left} of `{budget['metric']}` left."
    steps = sum(step.training.steps for step in report.steps) or training.steps
    cuts = f" in {len(report.steps)} cuts" if report.steps else ""
    yield f"- {steps} steps of fine-tuning{cuts}, best weights by held-out samples."
    yield (
        f"- Proved: conversion to {report.checks.conversion:.1e}, surgery to {report.checks.surgery:.1e}, "
        f"written file to {report.checks.write_back:.1e} (largest relative errors against ONNX Runtime)."
    )
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    yield f"- With {versions}; timed on {report.machine['processor']}, {report.machine['cores']} cores."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.translate(MARKUP) for cell in row)} |"
