"""Crowds: many streams, readers that idle, and clients that come and go as fast as they can.

Everybody gets every byte, nobody else waits for them, and when they have gone the server is as it
was: no descriptor is left, and their memory is there for the next ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.e2e.client import Client, end_frame, frames, joined, task, until
from tests.e2e.serving import caller, process
from tests.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

T = TypeVar("T")

MIB = 2**20
KIB = 2**10
QUICK = task({"agent": "scripted-1", "texts": ["a"], "nonce": True})
DATABASE_FILES = 12  # four connections that read, made when they are wanted first
ALL_AT_ONCE = 64  # connections that are being made at one moment


def sized(small: int, full: int) -> list[object]:
    """A size for every run of the tests, and one for `make soak`."""
    marks = [pytest.mark.soak, pytest.mark.timeout(900)]
    return [small, pytest.param(full, marks=marks)]


def resident(server: ServerProcess) -> int:
    """Bytes of memory the server takes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * KIB


def descriptors(server: ServerProcess) -> int:
    """How many files and sockets it has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


async def is_as_before(server: ServerProcess, before: int) -> None:
    """Wait until no descriptor is left of those who came."""

    async def back() -> bool:
        return descriptors(server) <= before + DATABASE_FILES

    await until(back, f"{before} descriptors again, not {descriptors(server)}")


async def quick_calls(client: Client, stop: asyncio.Event) -> list[float]:
    """Somebody else's calls meanwhile: how long each took."""
    seconds = []
    while not stop.is_set():
        began = time.monotonic()
        assert (await client.call("GET", "/api/agents")).status == 200
        seconds.append(time.monotonic() - began)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), 0.05)
    return sorted(seconds)


async def all_of(
    count: int, one: Callable[[int, asyncio.Semaphore], Coroutine[Any, Any, T]]
) -> list[T]:
    """Do something so often; at the beginning of each there is a limit to be taken."""
    limit = asyncio.Semaphore(ALL_AT_ONCE)
    return await asyncio.gather(*(one(number, limit) for number in range(count)))


@pytest.mark.parametrize("streams", sized(300, 2000))
async def test_a_crowd_of_live_streams_gets_every_byte(streams: int, tmp_path: Path) -> None:
    """Half of them POST a task of their own, half read ten tasks that all have read by many."""
    with process(tmp_path) as server:
        server.start(max_streams=10_000, max_streams_per_owner=10_000, max_concurrent_tasks=streams,
                     max_tasks_per_owner=10_000)  # fmt: skip
        alice = caller(server)
        await alice.run(QUICK)
        before = descriptors(server)
        talk = task({"agent": "scripted-1", "repeat": 20, "delay": 0.1, "nonce": True})
        shared = [await alice.submit(talk) for _ in range(10)]
        stop = asyncio.Event()
        others = asyncio.create_task(quick_calls(alice, stop))

        async def follow(number: int, limit: asyncio.Semaphore) -> tuple[str, bytes]:
            method, path, body = "POST", "/execute/stream", QUICK
            if number % 2:
                method, path = "GET", f"/api/tasks/{shared[number % 10]}/stream"
            else:
                body = talk
            await limit.acquire()
            async with alice.open(method, path, body if method == "POST" else None) as response:
                limit.release()
                received = await response.read_to_end()
                assert end_frame(received) is not None, "cut off"
                return str(response.header("x-task-id") or shared[number % 10]), received

        seen = await all_of(streams, follow)
        stop.set()
        seconds = await others
        logs: dict[str, bytes] = {}
        for task_id, received in seen:
            if task_id not in logs:
                logs[task_id] = joined(await alice.log(task_id))
            assert joined(frames(received)) == logs[task_id]
        await is_as_before(server, before)
    p99 = seconds[len(seconds) * 99 // 100]
    print(f"{streams} streams, {len(logs)} tasks; other calls: p99 {p99 * 1000:.0f} ms")
    assert p99 <= 2.5, f"{p99:.2f} s"


@pytest.mark.parametrize("readers", sized(500, 10_000))
async def test_readers_that_idle_cost_little_and_leave_nothing(
    readers: int, tmp_path: Path
) -> None:
    hang = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
    with process(tmp_path) as server:
        server.start(max_streams=20_000, max_streams_per_owner=20_000, keepalive_seconds=5)
        alice = caller(server)
        tasks = [await alice.submit(hang) for _ in range(10)]
        for task_id in tasks:
            await alice.reaches(task_id, "running")
        await _come_and_go(alice, tasks, 200)  # what the first ones cost once
        files, before = descriptors(server), resident(server)
        grown = []
        for _ in range(2):
            async with contextlib.AsyncExitStack() as stack:

                async def come(number: int, limit: asyncio.Semaphore) -> None:
                    async with limit:
                        path = f"/api/tasks/{tasks[number % 10]}/stream"
                        opened = alice.open("GET", path, buffer=2**12)
                        line = await stack.enter_async_context(opened)
                        await line.read_until(lambda received: b"here" in received)

                await all_of(readers, come)
                grown.append(resident(server) - before)
                assert descriptors(server) >= readers
                assert len(await alice.run(QUICK)) == 5, "a task runs as ever"
            await is_as_before(server, files)
    first, second = grown
    print(
        f"{first / readers / KIB:.1f} KiB each, the next ones {(second - first) / MIB:.1f} MiB more"
    )
    assert first / readers <= 100 * KIB
    assert second - first <= 8 * MIB + first / 10, "what the first ones left is used again"


async def _come_and_go(client: Client, tasks: list[str], count: int) -> None:
    async def once(number: int, limit: asyncio.Semaphore) -> None:
        async with limit:
            path = f"/api/tasks/{tasks[number % len(tasks)]}/stream"
            async with client.open("GET", path) as line:
                await line.read_until(lambda received: b"\nid: 1\n" in received)
                line.cut()

    await all_of(count, once)


@pytest.mark.parametrize("clients", sized(600, 10_000))
async def test_a_storm_of_clients_that_come_and_go_leaves_nothing(
    clients: int, tmp_path: Path
) -> None:
    """They POST, read a little or nothing, and break off; some never send a whole request."""
    talk = task({"agent": "scripted-1", "repeat": 4, "delay": 0.01, "nonce": True})
    with process(tmp_path) as server:
        server.start(max_concurrent_tasks=8, max_tasks_per_owner=10_000, max_queued_tasks=10_000,
                     max_streams_per_owner=10_000)  # fmt: skip
        alice = caller(server)
        await alice.run(talk)
        files, before = descriptors(server), resident(server)
        accepted: list[str] = []

        async def storm(number: int, limit: asyncio.Semaphore) -> None:
            async with limit:
                if number % 3 == 2:
                    with socket.create_connection(("127.0.0.1", server.port)) as line:
                        line.sendall(
                            b"POST /execute/stream HTTP/1.1\r\nHost: x\r\nConte"[: number % 50]
                        )
                    return
                async with alice.open("POST", "/execute/stream", talk) as response:
                    assert response.status == 200, response
                    accepted.append(str(response.header("x-task-id")))
                    if number % 3:
                        await response.read()
                    response.cut()

        await all_of(clients // 2, storm)
        await is_as_before(server, files)
        half = resident(server)
        await all_of(clients // 2, storm)
        await is_as_before(server, files)

        async def all_ended() -> bool:
            return not (await alice.get("/api/tasks/active"))["tasks"]

        await until(all_ended, "every task ran to its end", seconds=300)
        for task_id in accepted[:: max(1, len(accepted) // 20)]:
            assert await alice.status(task_id) == "completed", "nobody's leaving is a cancel"
        first, second = half - before, resident(server) - half
    print(f"{clients} clients: {first / MIB:.1f} MiB, the second half {second / MIB:.1f} MiB more")
    assert second <= 24 * MIB, "what the first half left is used again"


@pytest.mark.soak
async def test_connections_that_send_next_to_nothing_keep_nobody_waiting(tmp_path: Path) -> None:
    """Small and fast in `tests/api/test_slow_connections.py`; here they are two thousand."""
    lines = 2000
    with process(tmp_path) as server:
        server.start()
        alice = caller(server)
        await alice.run(QUICK)
        files = descriptors(server)
        async with contextlib.AsyncExitStack() as stack:

            async def dawdle(number: int, limit: asyncio.Semaphore) -> None:
                async with limit:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
                    stack.callback(writer.close)
                    writer.write(b"GET /api/agents HTTP/1.1\r\nHost: x\r\nX-Slow: ")
                    await writer.drain()

            await all_of(lines, dawdle)
            for _ in range(20):
                assert len(await alice.run(QUICK)) == 5
            await is_as_before(server, files)  # after ten seconds, by the server
