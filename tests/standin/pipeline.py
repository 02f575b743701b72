"""A pipeline that does what the model file tells it to: sleep, fail, crash.

The model's ``doc_string`` holds the script, a JSON list of steps such as ``["sleep", 2.0]``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import resource
import signal
import socket
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from sosp_core import errors
from sosp_core.checkpoints import Checkpoints, Kept, NoCheckpoints, Sink
from sosp_core.config import Recipe
from sosp_core.progress import NullProgress, Progress

STAGES = (
    "load",
    "convert",
    "discover",
    "score",
    "cut",
    "finetune",
    "write",
    "evaluate",
    "benchmark",
    "export",
    "report",
)


FILES = ("model.onnx", "report.json", "report.html", "plan.json", "MODEL_CARD.md")
SILENT = NullProgress()
NOTHING_KEPT = NoCheckpoints()


class Report:
    def to_json(self) -> dict[str, Any]:
        return {"schema": 1}

    def rows(self) -> list[tuple[str, str, str, str]]:
        return [("parameters", "10", "5", "-50 %")]


@dataclass(frozen=True)
class Outcome:
    model: Path
    report_json: Path
    report_html: Path
    plan: Path
    card: Path
    report: Report

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.model, self.report_json, self.report_html, self.plan, self.card)


def compress(
    model: Path,
    data: Path,
    recipe: Recipe,
    *,
    out_dir: Path,
    evaluation: Path | None = None,
    progress: Progress = SILENT,
    device: str | None = None,
    checkpoints: Checkpoints = NOTHING_KEPT,
) -> Outcome:
    progress.report("load", 0.0)
    source = model.read_bytes()
    assert data.suffix in {".npz", ".npy", ".safetensors", ".zip"}, data
    found = re.search(rb"script:(.*?):end", source, re.S)
    steps = json.loads(found[1]) if found else []
    told: dict[str, Any] = {"schema": 1, "seed": recipe.seed}
    for index, step in enumerate(steps):
        match step:
            case ["chain", length, pause_s]:
                told["chain"] = chain(length, pause_s, Kept(checkpoints, lambda: str(recipe.seed)), progress)
            case _:
                play(step, index / len(steps), progress)
    out_dir.mkdir(parents=True, exist_ok=True)
    contents = (source, json.dumps(told).encode(), b"<p>report</p>", b"{}", b"# Card")
    for name, content in zip(FILES, contents, strict=True):
        (out_dir / name).write_bytes(content)
    progress.report("report", 1.0)
    model, data, html, plan, card = (out_dir / name for name in FILES)
    return Outcome(model, data, html, plan, card, Report())


def play(step: list[Any], done: float, progress: Progress) -> None:
    match step:
        case ["report", stage, message]:
            progress.report(stage, done, message, metrics={"loss": 0.5})
        case ["sleep", seconds]:
            sleep(seconds, done, progress)
        case ["stubborn", seconds]:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                time.sleep(0.05)
        case ["note", path]:
            with Path(path).open("a") as file:
                file.write(f"{os.getpid()}\n")
        case ["signal", name]:
            os.kill(os.getpid(), signal.Signals[name])
        case ["exit", status]:
            os._exit(status)
        case ["raise", name, details]:
            raise getattr(errors, name)(**details)
        case ["memory"]:
            raise MemoryError
        case ["allocate", count]:
            bytearray(count)
        case ["spin", seconds]:
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                pass
        case ["write", count]:
            with Path("big").open("wb") as file:
                for _ in range(count // 2**20):
                    file.write(bytes(2**20))
        case ["chatter", count]:
            for _ in range(count):
                os.write(1, b"x" * 1023 + b"\n")
                time.sleep(0.001)
        case ["look", path]:
            Path(path).write_text(json.dumps(surroundings()))
        case ["full_disk"]:
            raise OSError(28, "No space left on device")
        case ["bug"]:
            raise ZeroDivisionError("a secret of the implementation")
        case ["once", path, inner]:
            if not Path(path).exists():
                Path(path).touch()
                play(inner, done, progress)
        case _:
            raise ValueError(step)


def chain(length: int, pause_s: float, kept: Kept, progress: Progress) -> str:
    """Digest of digest of ..., kept link by link: work of which a second try does only the rest."""
    found = kept.load("chain")
    done, link = json.loads(found[0]) if found else (0, "")
    while done < length:
        if progress.cancelled():
            raise errors.Cancelled(stage="finetune")
        time.sleep(pause_s)
        done, link = done + 1, hashlib.sha256(link.encode()).hexdigest()
        kept.save("chain", partial(write, json.dumps([done, link]).encode()))
        progress.report("finetune", done / length, f"link {done}, by {os.getpid()}")
    return str(link)


def write(content: bytes, file: Sink) -> None:
    file.write(content)


def surroundings() -> dict[str, Any]:
    """What a job can see of the machine it runs on."""
    with socket.socket() as listener, socket.socket() as caller:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        loopback = caller.connect_ex(listener.getsockname())
    autogroup = Path("/proc/self/autogroup")
    return {
        "environment": dict(os.environ),
        "interfaces": [name for _, name in socket.if_nameindex()],
        "loopback": loopback,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "session": os.getsid(0) == os.getpid(),
        "niceness": os.nice(0),
        "autogroup": autogroup.read_text() if autogroup.exists() else "",
    }


def sleep(seconds: float, done: float, progress: Progress) -> None:
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if progress.cancelled():
            raise errors.Cancelled(stage="finetune")
        progress.report("finetune", 1 - left / seconds, "step", eta_s=left, metrics={"loss": left})
        time.sleep(0.05)
