"""Agents that behave badly: what it does to their task is said, and the service goes on."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.processes import MARKER
from tests.e2e.client import Client, frames, task, until
from tests.e2e.serving import caller, process
from tests.grammar import check_log
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

MIB = 2**20
QUICK = task({"agent": "scripted-1", "texts": ["a"], "nonce": True})


def resident(server: ServerProcess) -> int:
    """Bytes of memory the server takes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{server.pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One for all of them: each leaves it as it was."""
    with process(tmp_path_factory.mktemp("hardship")) as running:
        running.start(cancel_grace_seconds=0.5, recover_max_attempts=100)
        yield running


@pytest.fixture
def alice(server: ServerProcess) -> Iterator[Client]:
    yield caller(server)
    assert server.process is not None
    assert server.process.poll() is None, "the server died of it"


def alone(role: str, **inputs: object) -> dict[str, object]:
    """The body of a task for one agent."""
    return {"description": "x", "selectedAgents": [role], "inputs": inputs}


async def test_an_agent_that_blocks_the_loop_is_named_and_everything_goes_on(
    alice: Client, server: ServerProcess
) -> None:
    talk = task({"agent": "scripted-1", "repeat": 30, "delay": 0.05, "nonce": True})
    running = asyncio.create_task(alice.run(talk))
    log = await alice.run(alone("blocking", seconds=1.6))
    assert log[-1].type == "task_complete"
    check_log([frame.data for frame in await running])

    async def named() -> bool:
        return "the event loop has stood" in server.stderr and "agent blocking of" in server.stderr

    await until(named, "the watchdog tells who it was")


async def test_an_agent_that_hears_no_cancel_is_left_behind(alice: Client, tmp_path: Path) -> None:
    gate = tmp_path / "open"
    task_id = await alice.submit(alone("stubborn", gate=str(gate)))
    await alice.reaches(task_id, "running")
    await alice.call("POST", f"/api/tasks/{task_id}/cancel")
    assert await alice.reaches(task_id, "cancelled", "completed") == "cancelled"
    log = await alice.log(task_id)
    assert log[-1].data["notStopped"] == ["stubborn"]
    assert len(await alice.run(QUICK)) == 5
    gate.touch()


async def test_an_agent_that_floods_is_slowed_by_the_disk_and_nobody_else_is(
    alice: Client, server: ServerProcess
) -> None:
    before = resident(server)
    flooding = await alice.submit(alone("flooding", count=30_000))
    for _ in range(5):
        assert len(await alice.run(QUICK)) == 5
    assert await alice.reaches(flooding, "completed", "failed") == "completed"
    log = await alice.log(flooding)
    assert [f.data["message"] for f in log if f.type == "agent_progress"] == [
        f"message {number}" for number in range(30_000)
    ]
    assert resident(server) - before <= 64 * MIB


async def test_fifty_megabytes_in_one_line_end_the_agent_that_printed_them(
    alice: Client, server: ServerProcess
) -> None:
    before = resident(server)
    for role in ("one-line", "one-status-line"):
        log = await alice.run(alone(role))
        check_log([frame.data for frame in log])
        (end,) = [f.data for f in log if f.type in ("agent_error", "agent_complete")]
        if role == "one-line":
            assert (end["status"], end["code"]) == ("error", "output_limit")
        else:
            assert end["status"] == "success", "of a status line the beginning is shown"
            assert max(len(frame.raw) for frame in log) <= 300 * 1024
    assert resident(server) - before <= 96 * MIB


def carriers(task_id: str) -> set[int]:
    """Processes that work for a task, in whatever group they are."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environment = Path(f"/proc/{name}/environ").read_bytes()
                state = Path(f"/proc/{name}/stat").read_text().rpartition(") ")[2][0]
            except OSError:
                continue
            if f"{MARKER}={task_id}/".encode() in environment and state != "Z":
                found.add(int(name))
    return found


async def forked(client: Client) -> str:
    """A task whose program has started others, one of them outside of its group."""
    task_id = await client.submit(alone("forking"))

    async def all_there() -> bool:
        return len(carriers(task_id)) == 4

    await until(all_there, "all four run")
    return task_id


linux = pytest.mark.skipif(sys.platform != "linux", reason="markers are seen in /proc")


@linux
async def test_what_an_agent_has_forked_ends_with_its_attempt(alice: Client) -> None:
    task_id = await forked(alice)
    await alice.call("POST", f"/api/tasks/{task_id}/cancel")
    await alice.reaches(task_id, "cancelled")
    assert not carriers(task_id)


@linux
async def test_what_a_killed_server_has_left_running_ends_before_the_next_attempt(
    alice: Client, server: ServerProcess
) -> None:
    task_id = await forked(alice)
    left = carriers(task_id)
    server.kill()
    assert carriers(task_id) == left, "they outlive the server"
    server.start()

    async def others() -> bool:
        return len(carriers(task_id)) == 4

    await until(others, "the second attempt runs")
    assert not left & carriers(task_id), "and nothing of the first"
    await alice.call("POST", f"/api/tasks/{task_id}/cancel")
    await alice.reaches(task_id, "cancelled")
    async with alice.open("GET", f"/api/tasks/{task_id}/stream") as response:
        log = frames(await response.read_to_end())
    assert [f.data["attempt"] for f in log if f.type == "agent_start"] == [1, 2]
