from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import pytest
import redis
from sqlalchemy import update

from service.app import _keep_house
from service.jobs.leases import Leases
from service.jobs.messages import Doorbell
from service.jobs.quotas import Quotas
from service.jobs.reaper import Reaper, announce
from service.jobs.records import end_attempt, move
from service.jobs.states import JobState
from service.jobs.tables import Job
from tests.service.world import World


class CountingBell(Doorbell):
    def __init__(self, works: bool = True) -> None:
        self.rung: list[str] = []
        self.works = works

    def ring(self, job_id: str, queue: str = "any") -> bool:
        self.rung.append(job_id)
        return self.works


def reaper_of(world: World, bell: Doorbell, **changes: Any) -> Reaper:
    return replace(world.parts.reaper, doorbell=bell, **changes)


def test_lost_attempts_are_repeated_until_none_are_left(world: World) -> None:
    job_id = world.submit()
    for _ in range(2):
        world.claim(job_id)
        world.expire(job_id)
        reaper_of(world, CountingBell()).sweep()
    job = world.jobs.get(job_id)
    assert job.state is JobState.FAILED
    assert job.error is not None
    assert job.error["code"] == "worker_lost"
    assert [attempt.outcome for attempt in world.jobs.attempts(job_id)] == ["lost"] * 2


def test_a_lease_in_force_is_left_alone(world: World) -> None:
    job_id = world.submit()
    world.claim(job_id)
    world.parts.reaper.recover(job_id)
    assert world.jobs.get(job_id).state is JobState.RUNNING


def test_a_cancelled_job_whose_worker_died_is_cancelled(world: World) -> None:
    job_id = world.submit()
    world.claim(job_id)
    world.jobs.cancel(job_id)
    world.expire(job_id)
    world.parts.reaper.recover(job_id)
    assert world.jobs.get(job_id).state is JobState.CANCELLED


def test_a_released_attempt_does_not_count(world: World) -> None:
    job_id = world.submit()
    assert world.leases.release(world.claim(job_id))
    job = world.jobs.get(job_id)
    assert (job.state, job.attempt, job.fence) == (JobState.QUEUED, 0, 1)


def test_a_message_that_never_left_is_sent_once_the_broker_is_back(world: World) -> None:
    job_id = world.submit()
    away, back = CountingBell(works=False), CountingBell()
    assert not announce(world.parts.db, away, job_id)
    reaper_of(world, away).sweep()
    reaper_of(world, back).sweep()
    reaper_of(world, back).sweep()
    assert (away.rung, back.rung) == ([job_id] * 2, [job_id])


def test_a_lost_message_is_repeated_only_for_an_idle_worker(world: World) -> None:
    first, second = world.submit(), world.submit()
    bell = CountingBell()
    reaper = reaper_of(world, bell, republish_after_s=-1.0)
    reaper.sweep()
    assert bell.rung == []  # no worker: the messages wait in the broker
    world.parts.presence.beat("tester")
    reaper.sweep()
    assert bell.rung == [first]  # one worker can take one job
    world.claim(first)
    reaper.sweep()
    assert bell.rung == [first]  # it is busy
    assert world.jobs.get(second).state is JobState.QUEUED


def test_the_next_attempt_waits_for_its_time(world: World) -> None:
    job_id = world.submit()
    error = {"code": "x", "detail": "d", "details": {}, "retryable": True, "stage": None, "attempt": 1}
    assert world.leases.retry(world.claim(job_id), error, pause_s=60.0)
    bell = CountingBell()
    reaper_of(world, bell).sweep()
    assert bell.rung == []
    assert world.leases.claim(job_id, "early") is None
    with world.parts.db.write() as session:
        session.execute(update(Job).values(not_before=1.0))
    reaper_of(world, bell).sweep()
    assert bell.rung == [job_id]
    assert world.claim(job_id).attempt == 2


def test_one_owner_runs_as_many_at_a_time_as_allowed(world: World) -> None:
    quotas = replace(Quotas.of(world.parts.settings), running_jobs=1)
    leases = Leases(world.parts.db, quotas, lease_s=60.0)
    first, second = world.submit(), world.submit()
    claim = leases.claim(first, "one")
    assert claim is not None
    assert leases.claim(second, "two") is None
    bell = CountingBell()
    reaper = reaper_of(world, bell, max_running_jobs=1)
    reaper.sweep()
    assert bell.rung == []
    assert leases.cancel(claim)
    reaper.sweep()
    assert bell.rung == [second]
    assert leases.claim(second, "two") is not None


def test_a_job_is_announced_to_workers_that_serve_its_queue(world: World) -> None:
    job_id = world.jobs.submit(replace(world.order, queue="bench.pi"))[0].id
    bell = CountingBell()
    reaper = reaper_of(world, bell, republish_after_s=-1.0)
    world.parts.presence.beat("big", ["any", "gpu"])
    reaper.sweep()
    assert bell.rung == []
    world.parts.presence.beat("small", ["bench.pi"])
    reaper.sweep()
    assert bell.rung == [job_id]


def test_two_reapers_announce_a_job_once(world: World) -> None:
    job_id = world.submit()
    bell = CountingBell(works=False)
    announce(world.parts.db, bell, job_id)
    one, two = reaper_of(world, CountingBell()), reaper_of(world, CountingBell())
    seen = one._unannounced()
    assert seen == two._unannounced()
    assert [job.id for job in seen] == [job_id]
    assert [one._take_turn(job_id, None), two._take_turn(job_id, None)] == [True, False]


def test_presence_ends_with_the_worker(world: World) -> None:
    presence = world.parts.presence
    presence.beat("one")
    presence.beat("one")
    presence.beat("two")
    assert presence.alive(within_s=10) == 2
    presence.leave("one")
    assert presence.alive(within_s=10) == 1
    assert presence.alive(within_s=-1) == 0


def test_delivered_messages_of_a_sql_broker_are_removed_in_time(world: World) -> None:
    bell = world.parts.doorbell
    bell.prune()  # nothing there yet
    assert bell.ring(world.submit())
    broker = sqlite3.connect(world.parts.settings.data_dir / "broker.db")
    count = "SELECT count(*) FROM kombu_message"
    bell.prune()
    assert broker.execute(count).fetchone() == (1,)
    broker.execute("UPDATE kombu_message SET visible = 0, timestamp = '2001-01-01 00:00:00'")
    broker.commit()
    bell.prune()
    assert broker.execute(count).fetchone() == (0,)
    broker.close()


@pytest.mark.parametrize("url", ["redis://127.0.0.1:9/0", "sqla+sqlite:////nowhere/broker.db"])
def test_a_broker_that_is_away_is_an_answer_not_an_exception(url: str) -> None:
    bell = Doorbell(url)
    assert not bell.answers()
    assert not bell.ring("job_x")
    bell.close()


def test_a_broker_that_forbids_is_an_answer_not_an_exception(valkey: str) -> None:
    """Redis answers, with an error of its own: so it does while it loads its data, too."""
    host = valkey.removeprefix("redis://").removesuffix("/0")
    with redis.Redis.from_url(valkey) as admin:
        admin.execute_command("ACL", "SETUSER", "guest", "on", "nopass", "+@connection", "+info")
    bell = Doorbell(f"redis://guest:x@{host}/0")
    assert not bell.answers()
    assert not bell.ring("job_x")
    bell.close()


def test_a_broker_without_memory_for_messages_does_not_count_as_there(valkey: str) -> None:
    bell = Doorbell(valkey)
    assert bell.answers()
    with redis.Redis.from_url(valkey) as admin:
        admin.config_set("maxmemory", "1kb")
        try:
            assert not bell.answers()
            assert not bell.ring("job_x")
        finally:
            admin.config_set("maxmemory", "0")
    assert bell.answers()
    bell.close()


def test_a_job_that_ends_while_it_is_found_lost_keeps_its_ending(world: World) -> None:
    job_id = world.submit()
    claim = world.claim(job_id)
    world.expire(job_id)
    with ThreadPoolExecutor(1) as pool:
        with world.parts.db.write() as session:  # the worker, which is slow but not dead
            job = move(session, job_id, JobState.SUCCEEDED, Job.fence == claim.fence)
            assert job is not None
            reaped = pool.submit(world.parts.reaper.recover, job_id)
            assert not wait([reaped], 0.3).done
            end_attempt(session, job, "succeeded")
        reaped.result(10)
    assert world.jobs.get(job_id).state is JobState.SUCCEEDED
    assert [attempt.outcome for attempt in world.jobs.attempts(job_id)] == ["succeeded"]


def test_housekeeping_goes_on_whatever_a_round_meets(world: World, caplog: pytest.LogCaptureFixture) -> None:
    class Stumbling(Reaper):
        def sweep(self) -> None:
            rounds.append(len(rounds))
            if len(rounds) == 1:
                raise ZeroDivisionError

    async def some_rounds() -> None:
        chore = asyncio.create_task(_keep_house(replace(world.parts, reaper=stumbling)))
        while len(rounds) < 3:  # only the second one has more to do, in a thread that no cancelling ends
            await asyncio.sleep(0.05)
            assert not chore.done()
        chore.cancel()

    rounds: list[int] = []
    stumbling = Stumbling(**vars(world.parts.reaper))
    asyncio.run(asyncio.wait_for(some_rounds(), 10))
    assert "housekeeping" in caplog.text
