"""An installation with a job in every state, made through the job store: no worker, no waiting.

What jobs made is in ``samples``: reports and progress of real jobs on handwritten digits.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.deps import Parts, assemble
from service.jobs.failure import failure
from service.jobs.leases import Claim, Leases, Report
from service.jobs.order import JobOrder
from service.jobs.overall import overall
from service.jobs.quotas import Quotas
from service.settings import Settings
from sosp_core.errors import DataMismatch
from tests.live import FAST, model_bytes, npz_bytes

SAMPLES = Path(__file__).with_name("samples")
KINDS = ("half", "quarter", "small")


@dataclass
class Scene:
    """The parts of an installation, and where everything in it is."""

    parts: Parts
    leases: Leases
    model: str = ""
    data: str = ""

    @classmethod
    def at(cls, place: Path) -> Scene:
        settings = Settings(data_dir=place, **FAST)
        parts = assemble(settings)
        scene = cls(parts, Leases(parts.db, Quotas.of(settings), lease_s=3600))
        parts.presence.beat("worker")
        padding = report("half")["before"]["file_bytes"] - 100
        model = model_bytes(["note", "-" * padding])  # as large as the one the samples are about
        scene.model = named(parts, parts.models, model, "onnx", "digits.onnx")
        scene.data = named(parts, parts.datasets, npz_bytes(), "npz", "digits.npz")
        return scene

    def inspected(self, name: str = "inspection") -> None:
        """A worker has looked at the model."""
        inspections, row = self.parts.inspections, self.parts.models.get(self.model)
        inspections.ask(row.sha256, row.format)
        request = inspections.take()
        assert request is not None
        inspections.settle(request, {"inspection": json.loads((SAMPLES / f"{name}.json").read_text())})

    def queued(self, recipe: dict[str, Any] | None = None) -> str:
        recipe = recipe or json.loads((SAMPLES / "half" / "recipe.json").read_text())
        order = JobOrder(model_id=self.model, dataset_id=self.data, evaluation_id=None, recipe=recipe)
        return self.parts.jobs.submit(order)[0].id

    def claimed(self, recipe: dict[str, Any] | None = None) -> Claim:
        claim = self.leases.claim(self.queued(recipe), "worker")
        assert claim is not None
        return claim

    def running(self, share: float = 0.7) -> str:
        """A job in the midst of its fine-tuning, with what a real one reported until there."""
        claim = self.claimed()
        events = json.loads((SAMPLES / "half" / "events.json").read_text())
        for told in events[: int(len(events) * share)]:
            self.report(claim, *told)
        return claim.job_id

    def report(self, claim: Claim, name: str, done: float, message: str, eta: Any, metrics: Any) -> None:
        told = Report(
            stage=name,
            progress=done,
            overall=overall(name, done),
            message=message,
            eta_s=eta,
            metrics=metrics,
        )
        assert self.leases.report(claim, told)

    def done(self, kind: str) -> str:
        """A job that succeeded."""
        place = SAMPLES / kind
        claim = self.claimed(json.loads((place / "recipe.json").read_text()))
        self.report(claim, "report", 1.0, "", None, {})
        work = self.parts.artifacts.begin(claim.job_id, claim.fence)
        shutil.copy(place / "report.json", work / "out")
        (work / "out" / "model.onnx").write_bytes(bytes(report(kind)["after"]["file_bytes"]))
        (work / "out" / "report.html").write_text(
            "<!doctype html><html lang=en><title>Report</title><p>Report"
        )
        (work / "out" / "plan.json").write_text("{}")
        (work / "out" / "MODEL_CARD.md").write_text("# A slim model")
        assert self.leases.succeed(claim, self.parts.artifacts.publish(claim.job_id, claim.fence), {})
        return claim.job_id

    def failed(self, *, retryable: bool = False) -> str:
        claim = self.claimed()
        self.report(claim, "load", 0.5, "", None, {})
        error = DataMismatch(field="image", expected="an array of that name", got="picture")
        assert self.leases.fail(claim, failure(error, stage="load", attempt=1) | {"retryable": retryable})
        return claim.job_id

    def cancelled(self) -> str:
        return self.parts.jobs.cancel(self.queued()).id


def report(kind: str) -> dict[str, Any]:
    """What a sample job found."""
    found: dict[str, Any] = json.loads((SAMPLES / kind / "report.json").read_text())
    return found


def named(parts: Parts, library: Any, content: bytes, format: str, name: str) -> str:
    with parts.blobs.writer(limit=10**7) as writer:
        writer.write(content)
        return str(library.add(writer.finish(), name=name, format=format).id)
