from __future__ import annotations

from dataclasses import replace

from sqlalchemy import update

from service.jobs.tables import Job
from service.jobs.unheard import Look, Lookout
from tests.service.world import World


def lookout(world: World) -> Lookout:
    return Lookout(db=world.parts.db, worker="tester", queues=["any", "gpu"], max_running_jobs=2)


def change(world: World, job_id: str, **values: object) -> None:
    with world.parts.db.write() as session:
        session.execute(update(Job).where(Job.id == job_id).values(**values))


def test_what_waits_is_what_this_worker_could_take_at_once(world: World) -> None:
    other = world.jobs.submit(replace(world.order, queue="bench.pi"))[0].id
    later, unannounced, waits = (world.submit() for _ in range(3))
    change(world, other, published_at=5.0)
    change(world, later, not_before=1e12)
    change(world, unannounced, published_at=None)
    change(world, waits, published_at=7.0, not_before=1.0)
    assert lookout(world).look() == Look(busy=False, waiting={waits: 7.0})


def test_a_worker_is_busy_while_its_own_job_runs(world: World) -> None:
    job_id, _ = world.submit(), world.submit()
    claim = world.claim(job_id)
    assert lookout(world).look() == Look(busy=True)
    assert not replace(lookout(world), worker="another").look().busy
    assert world.leases.cancel(claim)
    assert not lookout(world).look().busy


def test_jobs_of_an_owner_who_has_enough_running_may_wait(world: World) -> None:
    running, waits = world.submit(), world.submit()
    world.claim(running)
    idle = replace(lookout(world), worker="idle")
    assert set(idle.look().waiting) == {waits}
    assert replace(idle, max_running_jobs=1).look().waiting == {}
