"""Readers that do not read cost nobody anything: not the memory, not the task, not each other."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import DEADLINE, Client, end_frame, frames, joined, task
from tests.e2e.serving import caller, process
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

MIB = 2**20


def resident(server: ServerProcess) -> int:
    """Bytes of memory the server takes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def log_of(megabytes: float, *, delay: float = 0.0) -> dict[str, object]:
    """A task whose log has so many megabytes."""
    count = int(megabytes * MIB / 32_768)
    part = {"agent": "scripted-1", "repeat": count, "size": 32_550, "nonce": True, "delay": delay}
    return task(part)


@contextlib.contextmanager
def never_reading(client: Client, task_id: str) -> Iterator[socket.socket]:
    """A reader that asks for a stream, takes next to nothing of it, and keeps the line open."""
    with socket.socket() as line:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        line.connect((client.host, client.port))
        request = f"GET /api/tasks/{task_id}/stream HTTP/1.1\r\nHost: x\r\n"
        line.sendall(f"{request}Authorization: Bearer {client.token}\r\n\r\n".encode())
        assert line.recv(12) == b"HTTP/1.1 200"
        yield line


async def cost(server: ServerProcess, *, readers: int, megabytes: float) -> int:
    """What the memory grew by while nobody reads a log; checks that everything else goes on.

    Half of the readers are there from the beginning, half come when all of it is there.
    """
    alice = caller(server)
    await alice.run(log_of(megabytes))  # what any such task costs, and leaves behind
    before = resident(server)
    task_id = await alice.submit(log_of(megabytes, delay=0.001))
    with contextlib.ExitStack() as stack:
        first = stack.enter_context(never_reading(alice, task_id))
        for _ in range(readers // 2 - 1):
            stack.enter_context(never_reading(alice, task_id))
        assert await alice.reaches(task_id, "completed", "failed") == "completed"
        for _ in range(readers - readers // 2):
            stack.enter_context(never_reading(alice, task_id))
        async with asyncio.timeout(10):
            log = await alice.log(task_id)
        assert len(joined(log)) > megabytes * MIB
        after = resident(server)
        received = await read_on(first)  # after all
        assert received.count(b"\nevent: agent_progress\n") == len(log) - 4
    return after - before


async def read_on(line: socket.socket) -> bytes:
    """Everything to the end frame."""
    line.setblocking(False)
    loop, received = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(DEADLINE):
        while b"event: complete" not in received[-500:]:
            received += await loop.sock_recv(line, MIB)
    return bytes(received)


async def test_readers_that_never_read_cost_next_to_no_memory(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(channel_bytes=512 * 1024)
        grown = await cost(server, readers=10, megabytes=4)
    print(f"{grown / MIB:.1f} MiB")
    assert grown <= 24 * MIB, f"{grown / MIB:.1f} MiB; all of it in memory would be 40"


@pytest.mark.soak
async def test_twenty_readers_that_never_read_twelve_megabytes_cost_64_at_most(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as server:
        server.start()
        grown = await cost(server, readers=20, megabytes=12)
    print(f"{grown / MIB:.1f} MiB")
    assert grown <= 64 * MIB, f"{grown / MIB:.1f} MiB"


@pytest.mark.soak
async def test_twenty_readers_that_never_read_do_not_slow_their_task(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start()
        alice = caller(server)

        async def duration(readers: int) -> float:
            began = time.monotonic()
            task_id = await alice.submit(log_of(12, delay=0.005))
            with contextlib.ExitStack() as stack:
                for _ in range(readers):
                    stack.enter_context(never_reading(alice, task_id))
                await alice.reaches(task_id, "completed", "failed")
            return time.monotonic() - began

        await duration(0)
        ratios = [await duration(20) / await duration(0) for _ in range(3)]
    print(" ".join(f"{ratio:.2f}" for ratio in ratios))
    assert min(ratios) <= 1.2


async def test_readers_that_have_caught_up_hold_nothing_while_they_wait(tmp_path: Path) -> None:
    readers = 60
    with process(tmp_path) as server:
        server.start()
        alice = caller(server)
        body = task(
            {"agent": "scripted-1", "repeat": 7, "size": 32_550},
            {"agent": "scripted-2", "texts": ["idle"], "outcome": "hang"},
        )
        async with contextlib.AsyncExitStack() as stack:
            first = await stack.enter_async_context(alice.open("POST", "/execute/stream", body))
            await first.read_until(lambda received: b"idle" in received[-400:])
            path = f"/api/tasks/{first.header('x-task-id')}/stream"

            async def catch_up() -> None:
                line = await stack.enter_async_context(alice.open("GET", path))
                await line.read_until(lambda received: b"idle" in received[-400:])

            for _ in range(10):
                await catch_up()
            before = resident(server)
            for _ in range(readers):
                await catch_up()
            grown = resident(server) - before
    print(f"{grown / readers / 1024:.0f} KiB")
    assert grown / readers <= 90 * 1024, f"{grown / readers / 1024:.0f} KiB each"


async def test_slow_and_fast_readers_of_one_task_all_get_the_whole_log(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(channel_bytes=200_000)
        alice = caller(server)
        task_id = await alice.submit(log_of(3, delay=0.002))

        async def read(pause: float) -> bytes:
            path = f"/api/tasks/{task_id}/stream"
            async with alice.open("GET", path, buffer=2**14) as response:
                while await response.read():  # noqa: ASYNC110 - the pause is what is slow
                    await asyncio.sleep(pause)
                assert response.ended
                assert end_frame(bytes(response.received)) is not None
                return joined(frames(bytes(response.received)))

        seen = await asyncio.gather(*(read(pause) for pause in (0, 0, 0.001, 0.002, 0.004)))
        whole = joined(await alice.log(task_id))
        assert all(one == whole for one in seen)


async def test_a_reader_that_does_not_read_slows_nobody_down(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(channel_bytes=200_000)
        alice = caller(server)
        task_id = await alice.submit(log_of(20, delay=0.001))
        with never_reading(alice, task_id), never_reading(alice, task_id):
            quick = task({"agent": "scripted-1", "texts": ["a"]})
            async with asyncio.timeout(10):
                for _ in range(20):
                    assert len(await alice.run(quick)) == 5
            assert await alice.status(task_id) == "running", "they were done long before it"
            assert await alice.reaches(task_id, "completed", "failed") == "completed"
