"""The client on an event loop, against the real service; what it shares is tested in test_client."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from service.async_client import AsyncClient, AsyncJob
from service.client import ApiError, Client, Job, JobFailed, Unreachable, WaitTimeout
from service.jobs.states import JobState
from tests.live import Bench, model_bytes, npz_bytes


def on(bench: Bench, use: Callable[[AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        async with AsyncClient(bench.stack.url) as client:
            await use(client)

    asyncio.run(main())


async def submitted(client: AsyncClient, bench: Bench, *script: list[object]) -> AsyncJob:
    model, data = bench.files / "async.onnx", bench.files / "async.npz"
    model.write_bytes(model_bytes(*script))
    data.write_bytes(npz_bytes())
    told: list[tuple[int, int]] = []
    views = await asyncio.gather(
        client.upload_model(model, lambda sent, total: told.append((sent, total))),
        client.upload_dataset(data),
    )
    assert told[-1] == (model.stat().st_size,) * 2
    return await client.submit(*views, recipe="quick")


def test_from_upload_to_download(bench: Bench, tmp_path: Path) -> None:
    async def use(client: AsyncClient) -> None:
        job = await submitted(client, bench, ["sleep", 0.2])
        seen: list[str] = []
        view = await job.wait(30, on_update=lambda view: seen.append(view.state))
        assert view.state is job.view.state is JobState.SUCCEEDED
        assert seen[-1] == JobState.SUCCEEDED
        files = await job.download(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == set(files)
        assert "quick" in {item.name for item in await client.recipes()}
        assert job.id in [view.id async for view in client.jobs(JobState.SUCCEEDED)]
        assert (await (await client.job(job.id)).refresh()).recipe == view.recipe
        await client.delete(job)
        with pytest.raises(ApiError, match="no job"):
            await client.job(job.id)

    on(bench, use)


def test_waiting_leaves_the_loop_free_and_can_be_limited_and_cancelled(bench: Bench) -> None:
    async def use(client: AsyncClient) -> None:
        job = await submitted(client, bench, ["sleep", 20])
        beats = 0

        async def beat() -> None:
            nonlocal beats
            while True:
                await asyncio.sleep(0.02)
                beats += 1

        beating = asyncio.create_task(beat())
        with pytest.raises(WaitTimeout):
            await job.wait(0.8)
        assert beats > 10
        waiting = asyncio.create_task(job.wait(30))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert time.monotonic() - began < 2, "a wait that is cancelled ends at once"
        beating.cancel()
        await job.cancel()
        with pytest.raises(JobFailed) as failed:
            await job.wait(30)
        assert failed.value.error.code == "cancelled"
        again = await job.retry()
        assert again.id != job.id
        await again.cancel()

    on(bench, use)


def test_a_server_that_never_was_there_is_given_up_soon() -> None:
    async def main() -> None:
        async with AsyncClient("http://127.0.0.1:9") as client:
            await client.job("job_x")

    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        asyncio.run(main())


@pytest.mark.parametrize(("one", "other"), [(Client, AsyncClient), (Job, AsyncJob)])
def test_both_clients_offer_the_same(one: type, other: type) -> None:
    assert {name for name in vars(one) if name[0] != "_"} == {name for name in vars(other) if name[0] != "_"}
