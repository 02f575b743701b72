"""``sosp inspect`` and ``sosp bench``: looking at models on this machine, without a service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.cli.output import Json, print_json, print_table

if TYPE_CHECKING:
    from sosp_core.sensitivity import Masked

Model = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


def inspect(
    model: Model,
    data: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="Samples: they fix dynamic dimensions, and tell sensitivities."
        ),
    ] = None,
    sensitivity: Annotated[
        bool, typer.Option(help="With data, measure what masking parts of each layer costs.")
    ] = True,
    as_json: Json = False,
) -> None:
    """Show what MODEL is, what it costs, and what could be removed; with data, at what price."""
    from sosp_core import units
    from sosp_core.inspection import inspect as look

    found = look(model, data)
    masked = None
    if sensitivity and data is not None and not found.blockers:
        from sosp_core.sensitivity import sensitivity as measure

        masked = measure(model, data)
    if as_json:
        print_json({**found.to_json(), "sensitivity": masked.to_json() if masked else None})
        return
    costs = {str(metric): value for metric, value in found.costs.items()}
    unknown = "unknown"
    print_table(
        ("", ""),
        [
            ("inputs", "; ".join(found.inputs)),
            ("outputs", "; ".join(found.outputs)),
            ("exporter", found.exporter or unknown),
            ("opset", ", ".join(f"{domain or 'ai.onnx'} {v}" for domain, v in found.opsets.items())),
            ("parameters", units.count(found.parameters)),
            ("MACs per sample", units.count(costs["macs"]) if costs else unknown),
            ("size of the weights", units.size(costs["size"]) if costs else unknown),
            (
                "removable structures",
                f"{costs['structures']} in {len(found.groups)} groups" if costs else unknown,
            ),
        ],
    )
    typer.echo()
    print_table(
        ("operator", "nodes", "converter", "channels"),
        [
            (f"{o.domain}::{o.op_type}" if o.domain else o.op_type, str(o.nodes), o.converter, o.channels)
            for o in found.support
        ],
    )
    if found.groups:
        typer.echo()
        print_table(
            ("removable", "structures"), [(str(g["name"]), str(g["structures"])) for g in found.groups]
        )
    if masked is not None:
        typer.echo(
            f"\n{masked.loss} loss and answers with a share of one layer masked, on {masked.samples} samples:"
        )
        print_table(
            ("layer", *(f"{m.share:.0%}: loss, {_answers(m)}" for m in masked.groups[0].masked)),
            [(g.group, *(f"{m.loss:+.4f}, {_shown(m)}" for m in g.masked)) for g in masked.groups],
        )
    sections = (
        ("stays as it is", found.refusals),
        ("would stop a job", found.blockers),
        ("not known", found.notes),
    )
    for title, lines in sections:
        if lines:
            typer.echo(f"\n{title}:")
            for line in lines:
                typer.echo(f"  {line}")


def _answers(masked: Masked) -> str:
    return "fidelity" if masked.accuracy is None else "accuracy"


def _shown(masked: Masked) -> str:
    return f"{masked.fidelity:.1%}" if masked.accuracy is None else f"{masked.accuracy * 100:+.1f} points"


def _duration(seconds: float) -> float:
    if not 0 < seconds <= 600:
        raise typer.BadParameter(f"{seconds:g} is not above 0 and at most 600 seconds")
    return seconds


def bench(
    before: Model,
    after: Model,
    data: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Samples to run; random ones otherwise.")
    ] = None,
    threads: Annotated[list[int] | None, typer.Option(min=1, max=1024, help="Threads; repeatable.")] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option(min=1, max=65536, help="Batch size; repeatable.")
    ] = None,
    max_time: Annotated[
        float, typer.Option(callback=_duration, help="Seconds for each setting, at most.")
    ] = 10.0,
    as_json: Json = False,
) -> None:
    """Time two models against each other in ONNX Runtime, interleaved."""
    from sosp_core import units
    from sosp_core.bench.pair import compare_files
    from sosp_core.config import BenchmarkConfig

    config = BenchmarkConfig(
        threads=tuple(threads or (1,)),
        batch_sizes=tuple(batch_size or (1, 16)),
        min_time_s=min(1.0, max_time),
        max_time_s=max_time,
    )
    found = compare_files(before, after, config, data)
    if as_json:
        print_json([comparison.to_json() for comparison in found])
        return
    print_table(
        ("setting", before.name, after.name, "speed-up [95 % interval]"),
        [
            (
                f"batch {c.batch_size}, {c.threads} thread(s)",
                units.milliseconds(c.before.median),
                units.milliseconds(c.after.median),
                f"{c.speedup:.3f} [{c.speedup_low:.3f}, {c.speedup_high:.3f}]"
                f"{', of processor times: the machine was busy' if c.busy else ''}",
            )
            for c in found
        ],
    )
