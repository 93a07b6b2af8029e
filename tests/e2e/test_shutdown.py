"""SIGTERM: nothing new, what runs may end, the rest goes back into the queue and on later."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, end_frame, frames, joined, task, types, until
from tests.e2e.serving import caller, process
from tests.grammar import check_log, check_prefix
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

STREAM = "/api/agents/execute/stream"
QUICK = task({"agent": "scripted-1", "texts": ["a"]})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
KEY = [("Idempotency-Key", "k")]


def terminate(server: ServerProcess) -> None:
    """Ask it to stop, without waiting."""
    assert server.process is not None
    server.process.send_signal(signal.SIGTERM)


async def draining(client: Client) -> None:
    """Wait until the server is not ready any more."""

    async def unready() -> bool:
        return (await client.call("GET", "/readyz")).status == 503

    await until(unready, "the server drains")


async def exit_status(server: ServerProcess) -> int:
    return await asyncio.to_thread(server.wait)


def gated(folder: Path) -> dict[str, Any]:
    """One agent that is quick and one that waits."""
    script = [{"agent": "scripted-1", "texts": ["done"], "kind": "content", "nonce": True}]
    inputs = {"script": script, "gate": str(folder / "open")}
    return {"description": "x", "selectedAgents": ["scripted-1", "gate"], "inputs": inputs}


async def test_running_tasks_are_handed_back_and_go_on_in_the_same_log(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=0.5, cancel_grace_seconds=0.5, max_concurrent_tasks=2)
        alice = caller(server)
        async with (
            alice.open("POST", STREAM, gated(tmp_path)) as first,
            alice.open("POST", STREAM, gated(tmp_path)) as second,
        ):
            for stream in (first, second):
                await stream.read_until(lambda received: b"waiting" in received)
            queued = await alice.submit(QUICK)
            terminate(server)
            bodies = [await stream.read_to_end() for stream in (first, second)]
            assert all(stream.ended for stream in (first, second)), "in good order"
            ids = [str(stream.header("x-task-id")) for stream in (first, second)]
        assert await exit_status(server) == 0
        for body in bodies:
            assert body.endswith(b"\n\nretry: 1000\n")
            assert end_frame(body) is None
            assert types(frames(body))[-2:] == ["agent_error", "task_state"]
        (tmp_path / "open").touch()
        server.start()
        assert await alice.reaches(queued, "completed", "failed", "cancelled") == "completed"
        for task_id, body in zip(ids, bodies, strict=True):
            assert await alice.reaches(task_id, "completed", "failed", "cancelled") == "completed"
            log = await alice.log(task_id)
            check_log([frame.data for frame in log])
            check_prefix([f.raw for f in frames(body)], [f.raw for f in log])
            (state,) = [frame.data for frame in log if frame.type == "task_state"]
            assert (state["state"], state["reason"]) == ("queued", "handed_back")
            assert state["done"] == ["scripted-1"]
            (error,) = [frame.data for frame in log if frame.type == "agent_error"]
            assert (error["code"], error["willRetry"]) == ("interrupted", True)
            starts = [
                (f.data["agentRole"], f.data["attempt"]) for f in log if f.type == "agent_start"
            ]
            assert starts == [("scripted-1", 1), ("gate", 1), ("gate", 2)]


async def test_a_draining_server_takes_nothing_new_and_answers_the_rest(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=30)
        alice = caller(server)
        finished = await alice.run(QUICK, headers=[("Idempotency-Key", "finished")])
        async with alice.open("POST", STREAM, gated(tmp_path), headers=KEY) as response:
            await response.read_until(lambda received: b"waiting" in received)
            task_id = str(response.header("x-task-id"))
            terminate(server)
            await draining(alice)
            for path in (STREAM, "/api/tasks", "/execute"):
                refused = await alice.call("POST", path, QUICK)
                assert (refused.status, refused.slug) == (503, "draining"), path
                assert int(refused.header("retry-after") or 0) > 0
            assert (await alice.call("GET", "/healthz")).status == 200
            assert await alice.status(task_id) == "running"
            again = await alice.run(QUICK, headers=[("Idempotency-Key", "finished")])
            assert joined(again) == joined(finished), "a repeat is a read"
            async with alice.open("POST", STREAM, gated(tmp_path), headers=KEY) as repeat:
                assert repeat.header("idempotency-replayed") == "true"
                await repeat.read_until(lambda received: b"waiting" in received)
                (tmp_path / "open").touch()
                bodies = [await response.read_to_end(), await repeat.read_to_end()]
        for body in bodies:
            assert end_frame(body) == ("complete", {"taskId": task_id}), "it ended in time"
        assert await exit_status(server) == 0


async def test_a_stopped_loop_is_not_started_while_the_server_drains(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=30)
        alice, root = caller(server), caller(server, "root", "admin")
        running = await alice.submit(gated(tmp_path))
        await alice.reaches(running, "running")
        assert (await root.call("POST", "/api/task-runner/stop")).status == 200
        waiting = await alice.submit(QUICK)
        terminate(server)
        await draining(alice)
        refused = await root.call("POST", "/api/task-runner/start")
        assert (refused.status, refused.slug) == (503, "draining")
        assert int(refused.header("retry-after") or 0) > 0
        assert await alice.status(waiting) == "queued", "nothing is claimed"
        (tmp_path / "open").touch()
        assert await exit_status(server) == 0
        server.start()
        assert await alice.status(running) == "completed"
        assert (await alice.get("/api/task-runner/status"))["state"] == "stopped"
        assert await alice.status(waiting) == "queued"


async def test_a_cancel_is_taken_while_the_server_drains(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=30)
        alice = caller(server)
        async with alice.open("POST", STREAM, HANG) as response:
            await response.read_until(lambda received: b"here" in received)
            terminate(server)
            await draining(alice)
            task_id = response.header("x-task-id")
            assert (await alice.call("POST", f"/api/tasks/{task_id}/cancel")).status == 202
            log = frames(await response.read_to_end())
        assert log[-1].data["code"] == "cancelled"
        assert await exit_status(server) == 0


async def test_whoever_waits_for_a_task_is_told_where_it_goes_on(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=0.3, cancel_grace_seconds=0.3)
        alice = caller(server)
        waiting = asyncio.create_task(alice.call("POST", "/execute", HANG))

        async def runs() -> bool:
            found = (await alice.get("/api/tasks/active"))["tasks"]
            return any(entry["agents"][0]["status"] == "running" for entry in found)

        await until(runs, "the task runs")
        terminate(server)
        answer = await waiting
        assert await exit_status(server) == 0
    assert answer.status == 202, answer
    assert answer.json()["status"] == "queued"
    assert answer.header("location") == f"/api/tasks/{answer.json()['taskId']}"


@pytest.mark.parametrize("drain_seconds", [0, 0.2])
async def test_what_was_accepted_while_the_signal_came_is_all_there(
    tmp_path: Path, drain_seconds: float
) -> None:
    body = task({"agent": "scripted-1", "repeat": 5, "delay": 0.02, "nonce": True})
    accepted: list[str] = []
    with process(tmp_path) as server:
        server.start(drain_seconds=drain_seconds, max_concurrent_tasks=5)
        alice = caller(server)

        async def submit_on() -> None:
            while True:
                try:
                    answer = await alice.call("POST", "/api/tasks", body)
                except (OSError, asyncio.IncompleteReadError):
                    return
                if answer.status != 202:
                    assert (answer.status, answer.slug) == (503, "draining")
                    return
                accepted.append(answer.json()["taskId"])

        async def enough() -> bool:
            return len(accepted) >= 40

        submitting = [asyncio.create_task(submit_on()) for _ in range(4)]
        await until(enough, "there are tasks in every state")
        terminate(server)
        assert await exit_status(server) == 0
        await asyncio.gather(*submitting)
        server.start(max_concurrent_tasks=64)
        for task_id in accepted:
            assert await alice.reaches(task_id, "completed", "failed", "cancelled") == "completed"
            check_log([frame.data for frame in await alice.log(task_id)])


async def test_an_idle_server_stops_at_once_and_a_second_signal_ends_a_busy_one(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as server:
        server.start(drain_seconds=30)
        assert server.terminate() == 0
        server.start()
        alice = caller(server)
        task_id = await alice.submit(HANG)
        await alice.reaches(task_id, "running")
        terminate(server)
        await draining(alice)
        terminate(server)
        assert await exit_status(server) == 1
        server.start()
        await alice.reaches(task_id, "running")
        check_log([f.data for f in await _so_far(alice, task_id)], ended=False)


async def _so_far(client: Client, task_id: str) -> list[Any]:
    async with client.open("GET", f"/api/tasks/{task_id}/stream") as response:
        body = await response.read_until(lambda received: received.count(b"here") == 2)
    return list(frames(body))


async def test_a_thousand_open_streams_end_in_good_order_within_the_bound(tmp_path: Path) -> None:
    streams, drain_seconds = 1000, 0.5
    with process(tmp_path) as server:
        server.start(
            drain_seconds=drain_seconds, cancel_grace_seconds=0.5, max_streams_per_owner=streams + 1
        )
        alice = caller(server)
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(alice.open("POST", STREAM, HANG))
            await first.read_until(lambda received: b"here" in received)
            path = f"/api/tasks/{first.header('x-task-id')}/stream"

            async def read() -> bytes:
                line = await stack.enter_async_context(alice.open("GET", path))
                await line.read_until(lambda received: b"here" in received)
                began.release()
                return await line.read_to_end()

            began = asyncio.Semaphore(0)
            reading = [asyncio.create_task(read()) for _ in range(streams - 1)]
            for _ in reading:
                await began.acquire()
            terminate(server)
            started = time.monotonic()
            bodies = [await first.read_to_end(), *(await asyncio.gather(*reading))]
        assert await exit_status(server) == 0
        took = time.monotonic() - started
    assert {body.endswith(b"\n\nretry: 1000\n") for body in bodies} == {True}
    assert len({joined(frames(body)) for body in bodies}) == 1, "all have seen the same"
    assert took <= drain_seconds + 10, f"{took:.1f} s"


async def test_a_server_that_was_stopped_for_a_while_goes_on_as_if_nothing_were(
    tmp_path: Path,
) -> None:
    body = task({"agent": "scripted-1", "repeat": 100, "delay": 0.005, "nonce": True})
    with process(tmp_path) as server:
        server.start(keepalive_seconds=1)
        assert server.process is not None
        alice = caller(server)
        async with alice.open("POST", STREAM, body) as response:
            task_id = str(response.header("x-task-id"))
            await response.read_until(lambda received: received.count(b"\nid: ") > 20)
            server.process.send_signal(signal.SIGSTOP)
            asking = asyncio.create_task(alice.status(task_id))
            await asyncio.wait([asking], timeout=1.5)  # longer than a keep-alive and any tick
            assert not asking.done(), "it stands still"
            server.process.send_signal(signal.SIGCONT)
            assert await asking in ("running", "completed")
            received = await response.read_to_end()
        assert end_frame(received) == ("complete", {"taskId": task_id})
        log = await alice.log(task_id)
        assert joined(frames(received)) == joined(log)
        check_log([frame.data for frame in log])
