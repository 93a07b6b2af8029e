"""A disk without room: nothing new is taken, what runs waits, and nothing has to be restarted.

The server lives in a mount namespace of its own, in which its data folder is a disk of a few MiB.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import Client, Frame, end_frame, frames, joined, task, until
from tests.e2e.serving import caller
from tests.grammar import check_log
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

MIB = 2**20
DISK_BYTES = 8 * MIB
QUICK = task({"agent": "scripted-1", "texts": ["a"], "nonce": True})
BACK_SECONDS = 5.0


def namespaces_are_allowed() -> bool:
    """Whether this machine lets us have a disk of our own."""
    try:
        return subprocess.run(["unshare", "-Urm", "true"], check=False).returncode == 0
    except OSError:
        return False


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server whose data folder is a small disk."""
    if not namespaces_are_allowed():
        pytest.skip("no namespaces here; tests/orchestrator/runtime has the same without a disk")
    data = tmp_path / "data"
    data.mkdir()
    script = f'mount -t tmpfs -o size={DISK_BYTES} tmpfs "$0" && exec "$@"'
    command = ["unshare", "-Urm", "sh", "-c", script, str(data)]
    with ServerProcess(
        tmp_path, command=[*command, sys.executable, "-m", "tests.e2e.serving"]
    ) as server:
        server.start()
        yield server


def disk(server: ServerProcess) -> Path:
    """The small disk, seen from outside of its namespace."""
    return Path(f"/proc/{server.pid}/root{server.data_dir}")


def fill(folder: Path) -> Path:
    """Take all the room there is."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path


async def test_a_full_disk_refuses_what_is_new_and_loses_nothing_that_runs(
    server: ServerProcess,
) -> None:
    alice = caller(server)
    old = await alice.run(QUICK)
    talk = task({"agent": "scripted-1", "repeat": 300, "size": 4000, "delay": 0.002, "nonce": True})
    async with alice.open("POST", "/execute/stream", talk) as response:
        await response.read_until(lambda received: received.count(b"\nid: ") > 50)
        reading = asyncio.create_task(response.read_to_end())
        filler = fill(disk(server))
        await until(lambda: _refused(alice), "nothing new is taken")
        shown = frames(bytes(response.received))
        stored = await _log_so_far(alice, str(response.header("x-task-id")))
        assert joined(stored).startswith(joined(shown)), "shown, but not stored"
        assert joined(await alice.log(old[0].data["taskId"])) == joined(old), "old logs are read"
        assert (await alice.call("GET", "/healthz")).status == 200
        assert not reading.done(), "it waits"
        filler.unlink()
        freed = time.monotonic()
        await until(lambda: _taken(alice), "it takes tasks again")
        received = await reading
        assert time.monotonic() - freed <= BACK_SECONDS + 300 * 0.002
    assert end_frame(received) is not None
    log = await alice.log(str(response.header("x-task-id")))
    assert joined(frames(received)) == joined(log)
    check_log([frame.data for frame in log])
    texts = [f.data["message"][:8] for f in log if f.type == "agent_progress"]
    assert texts == [f"{number:08}" for number in range(300)]


async def _refused(client: Client) -> bool:
    answer = await client.call("POST", "/api/tasks", {**QUICK, "description": "x" * 100_000})
    assert answer.status in (202, 507), answer
    return answer.status == 507


async def _taken(client: Client) -> bool:
    answer = await client.call("POST", "/api/tasks", QUICK)
    assert answer.status in (202, 507), answer
    return answer.status == 202


async def _log_so_far(client: Client, task_id: str) -> list[Frame]:
    async with client.open("GET", f"/api/tasks/{task_id}/stream") as response:
        end = (await client.get(f"/api/tasks/{task_id}"))["lastEventId"]
        return frames(await response.read_until(lambda received: len(frames(received)) >= end))
