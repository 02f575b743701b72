"""``sosp compress``: one model, here or on a server."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from service.cli.complete import recipe_names
from service.cli.complete import settings as complete_settings
from service.cli.output import ApiKey, Bar, BarProgress, Json, print_comparison, print_json
from sosp_core.config import Method, Metric, Recipe

if TYPE_CHECKING:
    from service.client import UploadProgress

#: Weights that a model of 2 GiB or more cannot hold itself; it looks for them by this name.
WEIGHTS = "model.onnx.data"

Input = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]


@dataclass(frozen=True)
class Inputs:
    """The files to work on."""

    model: Path
    data: Path
    evaluation: Path | None


@dataclass(frozen=True)
class Destination:
    """The server that does the work, and where on it."""

    server: str
    api_key: str | None
    queue: str


@dataclass(frozen=True)
class Made:
    """What came of it: files by artifact name, and the comparison to show."""

    files: dict[str, Path]
    rows: Sequence[Sequence[str]]


def compress(
    model: Input,
    data: Input,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where the slim model goes.")],
    evaluation: Annotated[
        Path | None, typer.Option("--eval", exists=True, dir_okay=False, help="Data to measure with.")
    ] = None,
    keep: Annotated[float | None, typer.Option(help="Share of the metric to keep, such as 0.5.")] = None,
    metric: Annotated[Metric | None, typer.Option(help="What the budget counts.")] = None,
    method: Annotated[Method | None, typer.Option(help="How structures are scored.")] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME|FILE", help="One of sosp recipes, or a JSON file.", autocompletion=recipe_names
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="PATH=VALUE",
            help="A recipe field; repeatable.",
            autocompletion=complete_settings,
        ),
    ] = None,
    server: Annotated[str | None, typer.Option(help="Address of a server to do the work.")] = None,
    api_key: ApiKey = None,
    queue: Annotated[str, typer.Option(help="Where on the server: any, cpu, gpu, bench.<label>.")] = "any",
    report: Annotated[Path | None, typer.Option(help="Write the report here too (.html or .json).")] = None,
    as_json: Json = False,
) -> None:
    """Compress MODEL with the help of DATA: in this process, or on a server."""
    wanted = _recipe(recipe, keep=keep, metric=metric, method=method, settings=settings or [])
    if server is not None and not server.strip():
        raise typer.BadParameter("say where it is, such as http://127.0.0.1:8000", param_hint="--server")
    inputs = Inputs(model, data, evaluation)
    _require_apart(inputs, output, "--output")
    if report is not None:
        _require_apart(inputs, report, "--report")
        if report.resolve() == output.resolve():
            raise typer.BadParameter(f"the report would replace the model {output}", param_hint="--report")
        report.parent.mkdir(parents=True, exist_ok=True)
    output.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as unfinished:
        # Beside the output, so that what is finished is moved into place and never half there.
        scratch = Path(tempfile.mkdtemp(prefix=".sosp-", dir=output.parent))
        unfinished.callback(shutil.rmtree, scratch, ignore_errors=True)
        with Bar().shown() as bar:
            made = (
                _remotely(Destination(server, api_key, queue), inputs, wanted, scratch, bar)
                if server
                else (_here(inputs, wanted, scratch, bar))
            )
        unfinished.pop_all()  # hours of work may be in it
    paths = _deliver(made, scratch, output, report)
    _show(made, paths, as_json=as_json)


def _require_apart(inputs: Inputs, place: Path, option: str) -> None:
    if place.is_dir():
        example = place / ("slim.onnx" if option == "--output" else "report.html")
        reason = f"{place} is a directory: name a file, such as {example}"
        raise typer.BadParameter(reason, param_hint=option)
    for path in (inputs.model, inputs.data, inputs.evaluation):
        if path is not None and place.exists() and place.samefile(path):
            reason = f"the result would replace {path}: choose another name"
            raise typer.BadParameter(reason, param_hint=option)


def _recipe(asked: str | None, *, settings: list[str], **flags: Any) -> Recipe:
    """The recipe of a file or a name, if any, with every flag that was given on top."""
    from service import recipes

    budget = {"keep": flags["keep"], "metric": flags["metric"]}
    given = [
        f"prune.budget.{name}={json.dumps(value)}" for name, value in budget.items() if value is not None
    ]
    if flags["method"] is not None:
        given.append(f"prune.method={flags['method']}")
    return recipes.build(recipes.apply_overrides(recipes.look_up(asked), [*given, *settings]))


def _here(inputs: Inputs, recipe: Recipe, scratch: Path, bar: Bar) -> Made:
    from sosp_core import compress as run

    outcome = run(
        inputs.model,
        inputs.data,
        recipe,
        out_dir=scratch,
        evaluation=inputs.evaluation,
        progress=BarProgress(bar),
    )
    return Made({path.name: path for path in outcome.files}, outcome.report.rows())


def _remotely(to: Destination, inputs: Inputs, recipe: Recipe, scratch: Path, bar: Bar) -> Made:
    from service import recipes
    from service.client import Client

    with Client(to.server, to.api_key) as client:
        model = client.upload_model(inputs.model, _uploading(bar, inputs.model))
        data = client.upload_dataset(inputs.data, _uploading(bar, inputs.data))
        evaluation = None
        if inputs.evaluation is not None:
            evaluation = client.upload_dataset(inputs.evaluation, _uploading(bar, inputs.evaluation))
        job = client.submit(model, data, evaluation=evaluation, recipe=recipes.dump(recipe), queue=to.queue)
        typer.echo(f"job {job.id} (sosp jobs wait {job.id} --server {to.server})", err=True)
        job.wait(on_update=lambda view: bar.show(view.stage or view.state, view.overall, view.message))
        return Made(job.download(scratch), job.view.metrics.get("summary", []))


def _uploading(bar: Bar, path: Path) -> UploadProgress:
    def show(sent: int, total: int) -> None:
        bar.show(f"uploading {path.name}", sent / max(1, total))

    return show


def _deliver(made: Made, scratch: Path, output: Path, report: Path | None) -> dict[str, str]:
    """Put everything where it was asked for; what cannot be put there stays, and is named."""
    try:
        places = _place(made, output)
        if report is not None:
            _copy(places["report.json" if report.suffix == ".json" else "report.html"], report)
    except BaseException:
        kept = scratch if any(scratch.iterdir()) else output
        typer.echo(f"the job is done, its result is kept: {kept}", err=True)
        raise
    finally:
        with suppress(OSError):  # not empty
            scratch.rmdir()
    return {name: str(place) for name, place in places.items()}


def _copy(made: Path, report: Path) -> None:
    if not (report.exists() and report.samefile(made)):
        shutil.copyfile(made, report)


def _place(made: Made, output: Path) -> dict[str, Path]:
    """Move the files to where they were asked for: the model there, the others beside it."""
    places = {name: _beside(output, name) for name in made.files}
    if WEIGHTS in made.files:
        places[WEIGHTS] = _weights_beside(made.files["model.onnx"], output)
    for place in places.values():
        if place.is_dir():  # it would be moved into it
            raise IsADirectoryError(errno.EISDIR, "is a directory", str(place))
    for name, place in places.items():
        shutil.move(made.files[name], place)
    return places


def _beside(output: Path, name: str) -> Path:
    if name == "model.onnx":
        return output
    return output.with_name(f"{output.stem}.{name.removeprefix('model.')}")


def _weights_beside(model: Path, output: Path) -> Path:
    """Where the weights of a large model go: under a name of its own, never over another model's."""
    place = output.with_name(f"{output.name}.data")
    try:
        from sosp_core.ir.save import rename_weights
    except ImportError:  # the client alone cannot write the name into the model
        from service.client import InTheWay

        place = output.with_name(WEIGHTS)
        if place.exists():
            raise InTheWay(place) from None
        return place
    rename_weights(model, place.name)
    return place


def _show(made: Made, paths: dict[str, str], *, as_json: bool) -> None:
    if as_json:
        print_json({"report": json.loads(Path(paths["report.json"]).read_text("utf-8")), "paths": paths})
        return
    print_comparison(made.rows)
    typer.echo(f"\n{paths['model.onnx']}\n{paths['report.html']}")
