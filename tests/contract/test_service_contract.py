"""Promises that hold over whole trees: errors, states, settings, addresses."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from pydantic import ValidationError

import service.errors
from service import problems
from service.app import create_app
from service.jobs.overall import WEIGHTS, overall
from service.jobs.states import NEXT, TERMINAL, JobState, sources
from service.settings import Settings
from sosp_core.errors import SospError, every_error

ERRORS = [kind for kind in every_error() if not kind.__subclasses__()]  # the others are never raised


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_title(kind: type[SospError]) -> None:
    assert 400 <= problems.status_of(kind) <= 599
    assert problems.title_of(kind.code)


def test_codes_are_unique() -> None:
    codes = [kind.code for kind in ERRORS if "code" in vars(kind)]
    assert len(codes) == len(set(codes))


def test_the_drawn_tree_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)", service.errors.__doc__ or "")
    built = [kind.__name__ for kind in every_error(service.errors.ServiceError)][1:]
    assert drawn == built


def test_every_state_is_reachable_and_terminal_ones_have_no_way_out() -> None:
    reached = {JobState.QUEUED}.union(*NEXT.values())
    assert reached == set(JobState)
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == TERMINAL
    assert all(sources(state) <= set(NEXT) for state in JobState)


def test_progress_of_the_whole_grows_with_the_stages() -> None:
    shares = [overall(stage, done) for stage in WEIGHTS for done in (0.0, 0.5, 1.0)]
    assert shares == sorted(shares)
    assert shares[0] == 0.0
    assert shares[-1] == pytest.approx(1.0)


def test_weights_name_the_stages_of_the_pipeline() -> None:
    pipeline = pytest.importorskip("sosp_core.pipeline")
    assert tuple(WEIGHTS) == pipeline.STAGES


@pytest.mark.parametrize("name", Settings.model_fields)
def test_every_setting_is_described_and_survives_the_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Settings.model_fields[name].description
    given = Settings(data_dir=tmp_path)
    for variable, value in given.environment().items():
        monkeypatch.setenv(variable, value)
    assert getattr(Settings(), name) == getattr(given, name)


def test_settings_that_cannot_work_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="twice heartbeat_s"):
        Settings(data_dir=tmp_path, lease_s=10, heartbeat_s=6)


def test_the_documented_addresses_exist(tmp_path: Path) -> None:
    document = create_app(Settings(data_dir=tmp_path)).openapi()
    found = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item}
    assert found == {
        "POST /v1/models",
        "GET /v1/models",
        "GET /v1/models/{id}",
        "GET /v1/models/{id}/inspection",
        "DELETE /v1/models/{id}",
        "POST /v1/datasets",
        "GET /v1/datasets",
        "GET /v1/datasets/{id}",
        "DELETE /v1/datasets/{id}",
        "OPTIONS /v1/uploads",
        "POST /v1/uploads",
        "HEAD /v1/uploads/{id}",
        "GET /v1/uploads/{id}",
        "PATCH /v1/uploads/{id}",
        "DELETE /v1/uploads/{id}",
        "POST /v1/jobs",
        "GET /v1/jobs",
        "GET /v1/jobs/{job_id}",
        "DELETE /v1/jobs/{job_id}",
        "GET /v1/jobs/{job_id}/events",
        "POST /v1/jobs/{job_id}/cancel",
        "POST /v1/jobs/{job_id}/retry",
        "GET /v1/jobs/{job_id}/artifacts",
        "GET /v1/jobs/{job_id}/artifacts/{name}",
        "GET /v1/recipes",
        "GET /v1/recipes/{name}",
        "GET /v1/schemas/recipe",
        "GET /v1/schemas/report",
        "GET /healthz",
        "GET /readyz",
        "GET /metrics",
    }
    recipe = document["components"]["schemas"]["JobRequest"]["properties"]["recipe"]
    assert {"prune", "finetune", "benchmark"} <= set(recipe["anyOf"][0]["properties"])
    references = set(re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(document)))
    assert references <= set(document["components"]["schemas"])
