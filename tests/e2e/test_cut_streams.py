"""A stream cut anywhere and taken up again loses, doubles and changes nothing."""

from __future__ import annotations

import asyncio
import random
import secrets

import pytest

from tests.e2e.client import (
    Client,
    Frame,
    Headers,
    end_frame,
    frames,
    joined,
    task,
    types,
)
from tests.grammar import check_log
from tests.proxy import Line, Proxy
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

STREAM = "/api/agents/execute/stream"
LONGEST = 9_000  # bytes; some more than the answer has


def talk() -> dict[str, object]:
    """A task that goes on for a tenth of a second and never says the same twice."""
    common = {"repeat": 18, "delay": 0.005, "nonce": True}
    parts = [
        {"agent": "scripted-1", "kind": "message", **common},
        {"agent": "scripted-2", "kind": "content", **common},
    ]
    return task(*parts, executionMode="parallel")


@pytest.fixture
def chance() -> random.Random:
    """Chance that can be repeated: the seed stands in the output of a test that fails."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    return random.Random(seed)


async def cut_once(
    client: Client, method: str, path: str, body: object, headers: Headers, at: int | None
) -> tuple[str, list[Frame], bool]:
    """Read an answer up to a byte; the task, what was whole by then, and whether it has ended."""
    async with client.open(method, path, body, headers=headers) as response:
        task_id = response.header("x-task-id") or ""
        if response.status == 204:
            return task_id, [], True
        assert response.status == 200, response
        while at is None or len(response.received) < at:
            if not await response.read():
                break
        response.cut()
        seen = bytes(response.received if at is None else response.received[:at])
        return task_id, frames(seen), end_frame(seen) is not None


async def read_in_pieces(client: Client, chance: random.Random, *, cuts: int) -> None:
    """Start a task, be cut so many times, and compare what was seen with the log."""
    key, body = ("Idempotency-Key", secrets.token_hex(8)), talk()
    seen: list[Frame] = []
    task_id, ended = "", False
    for at in [*(chance.randint(0, LONGEST) for _ in range(cuts)), None]:
        cursor: Headers = [("Last-Event-ID", str(seen[-1].seq))] if seen else []
        if task_id and chance.random() < 0.5:
            path = f"/api/tasks/{task_id}/stream"
            _, new, ended = await cut_once(client, "GET", path, None, cursor, at)
        else:
            headers = [key, *cursor]
            task_id, new, ended = await cut_once(client, "POST", STREAM, body, headers, at)
        seen += new
        if ended:
            break
    assert ended
    log = await client.log(task_id)
    assert joined(seen) == joined(log)
    check_log([frame.data for frame in log])


async def test_two_hundred_streams_cut_while_they_run_are_whole_in_the_end(
    alice: Client, chance: random.Random
) -> None:
    for _ in range(8):
        await asyncio.gather(*(read_in_pieces(alice, chance, cuts=1) for _ in range(25)))
    assert len((await alice.get("/api/tasks?limit=200"))["tasks"]) == 200, "never a second task"


async def test_a_stream_cut_again_and_again_is_whole_in_the_end(
    alice: Client, chance: random.Random
) -> None:
    await asyncio.gather(*(read_in_pieces(alice, chance, cuts=12) for _ in range(15)))
    assert len((await alice.get("/api/tasks"))["tasks"]) == 15


async def test_a_line_that_cuts_inside_frames_changes_nothing(
    server: ServerProcess, alice: Client, chance: random.Random
) -> None:
    count = 30

    def bad_line() -> Line:
        return Line(
            cut_after=chance.randint(0, LONGEST), piece=chance.choice([1, 2, 3, 7, 64, 700]),
            reset=chance.random() < 0.5,
        )  # fmt: skip

    async with Proxy(server.port, [bad_line() for _ in range(3 * count)]) as proxy:
        bad = alice.through(int(proxy.url.rpartition(":")[2]))

        async def read() -> None:
            key, body = ("Idempotency-Key", secrets.token_hex(8)), talk()
            seen: list[Frame] = []
            task_id, ended = "", False
            while not ended:
                cursor: Headers = [("Last-Event-ID", str(seen[-1].seq))] if seen else []
                try:
                    task_id, new, ended = await cut_once(
                        bad, "POST", STREAM, body, [key, *cursor], None
                    )
                except (asyncio.IncompleteReadError, ConnectionError):
                    continue  # not even the header came through
                seen += new
            assert joined(seen) == joined(await alice.log(task_id))

        await asyncio.gather(*(read() for _ in range(count)))
    assert len((await alice.get("/api/tasks"))["tasks"]) == count


async def test_a_line_of_single_bytes_only_takes_longer(
    server: ServerProcess, alice: Client
) -> None:
    async with Proxy(server.port, [Line(piece=1)]) as proxy:
        log = await alice.through(int(proxy.url.rpartition(":")[2])).run(talk())
    assert joined(log) == joined(await alice.log(log[0].data["taskId"]))


async def test_tasks_that_nobody_reads_finish_all_the_same(alice: Client) -> None:
    ids = []
    for _ in range(20):
        async with alice.open("POST", STREAM, talk()) as response:
            ids.append(str(response.header("x-task-id")))
            response.cut()
    for task_id in ids:
        assert await alice.reaches(task_id, "completed", "cancelled", "failed") == "completed"
        log = await alice.log(task_id)
        assert types(log)[-1] == "task_complete"
        check_log([frame.data for frame in log])
