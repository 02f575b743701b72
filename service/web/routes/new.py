"""``/new``: choose a budget in plain words, see the recipe it makes, start a job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse
from starlette.concurrency import run_in_threadpool

from service import recipes
from service.deps import Parts, PartsDep
from service.errors import NotFound
from service.jobs.order import JobOrder
from service.jobs.reaper import announce
from service.schemas import UploadView
from service.settings import QUEUE
from service.web import choices, named
from service.web.choices import Draft
from service.web.forms import Form, FormDep
from service.web.named import Named
from service.web.rendering import render
from service.web.routes.start import look

router = APIRouter(include_in_schema=False)
Id = Annotated[str, Query(max_length=64)]


@router.get("/new")
def new(
    request: Request,
    parts: PartsDep,
    model: Id = "",
    data: Id = "",
    evaluation: Id = "",
    source: Annotated[str, Query(alias="from", max_length=64)] = "",
) -> Response:
    """Ask for a budget; ``from`` a job, with its files and its recipe."""
    first = named.find(named.FIRST)
    base: Mapping[str, Any] = first.recipe if first else {}
    if source:
        job = parts.jobs.get(source)
        model, data, evaluation = model or job.model_id, data or job.dataset_id, job.evaluation_id or ""
        base = choices.shortened(job.recipe)
    if not model or not data:
        return RedirectResponse("/", 303)
    draft = choices.check(choices.write(base))
    answers = Form(model=model, data=data, evaluation=evaluation)
    if first and not source:
        answers.update(named=first.name, **first.answers)
    return _page(request, parts, answers, draft, source=source)


@router.post("/recipe")
async def recipe(request: Request, form: FormDep) -> Response:
    """The recipe that the answers make, or what is wrong with the one that was typed."""
    return render(request, "_recipe.html", draft=_draft(form))


@router.post("/new")
async def submit(request: Request, form: FormDep, parts: PartsDep) -> Response:
    """Queue the job, or show the form again with what is wrong."""
    draft = _draft(form)
    if not draft.valid or form["compose"]:
        status = 200 if draft.valid else 422
        if (chosen := _named(form)) is not None:
            form.update(chosen.answers)
        return await run_in_threadpool(_page, request, parts, form, draft, status)
    order = JobOrder(
        model_id=form["model"],
        dataset_id=form["data"],
        evaluation_id=form["evaluation"] or None,
        recipe=recipes.dump(recipes.read(draft.text or "{}")),
        queue=_queue(form),
    )
    job, new = await run_in_threadpool(parts.jobs.submit, order)
    if new:
        await run_in_threadpool(announce, parts.db, parts.doorbell, job.id, job.queue)
    return RedirectResponse(f"/jobs/{job.id}", 303)


def _draft(form: Form) -> Draft:
    """What was typed; with ``compose``, what the answers make of it, or the recipe of a name."""
    if not form["compose"]:
        return choices.check(form["recipe"])
    if (chosen := _named(form)) is not None:
        return choices.check(choices.write(chosen.recipe))
    asked = {name: form[name] for name in ("budget", "effort", "metric", "percent")}
    return choices.check(choices.write(choices.compose(choices.read(form["recipe"]), **asked)))


def _named(form: Form) -> Named | None:
    """The recipe that was asked for by its name."""
    return named.find(form["named"]) if form["compose"] == "named" else None


def _queue(form: Form) -> str:
    return form["queue"] if form["queue"] in ("any", "cpu", "gpu") else QUEUE.partition("|")[0]


def _page(
    request: Request, parts: Parts, form: Form, draft: Draft, status: int = 200, *, source: str = ""
) -> Response:
    upload, card = look(parts, form["model"])
    return render(
        request,
        "new.html",
        status,
        upload=upload,
        card=card,
        data=_dataset(parts, form["data"]),
        evaluation=_dataset(parts, form["evaluation"]) if form["evaluation"] else None,
        budgets=choices.budgets(),
        efforts=choices.EFFORTS,
        metrics=choices.metrics(),
        presets=named.all_named(),
        preset=form["named"],
        chosen=form["budget"],
        effort=form["effort"],
        percent=form["percent"] or "60",
        metric=form["metric"] or "params",
        draft=draft,
        source=source,
    )


def _dataset(parts: Parts, id: str) -> UploadView:
    try:
        return UploadView.of(parts.datasets.get(id))
    except NotFound as error:
        raise NotFound(kind="dataset", id=id) from error
