"""Between the commit and the first byte of each event lies an fsync: seen from outside, by strace.

By hand: strace -f -y -s 5000 -e trace=fdatasync,pwrite64,write,writev,sendmsg poststream serve
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.client import frames, task
from tests.e2e.serving import caller
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

CALLS = "fdatasync,fsync,pwrite64,write,writev,sendto,sendmsg"
_LINE = re.compile(r"(?P<pid>\d+) +(?:<\.\.\. )?(?P<call>\w+)(?P<rest>.*)")
_STORED = re.compile(r"\\\"seq\\\":(\d+),\\\"timestamp\\\"")
_SHOWN = re.compile(r"id: (\d+)\\nevent: \w+\\ndata: ")


def strace(output: Path) -> list[str]:
    """The command before a command; the tracer stands beside it, not above."""
    return ["strace", "-D", "-f", "-y", "-s", "5000", "-e", f"trace={CALLS}", "-o", str(output)]


def can_trace(folder: Path) -> str:
    """Why system calls cannot be seen here; empty when they can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    run = subprocess.run(
        [*strace(folder / "probe"), "true"], capture_output=True, text=True, check=False
    )
    return "" if run.returncode == 0 else f"strace may not trace here: {run.stderr.strip()}"


def happenings(lines: Iterator[str]) -> Iterator[tuple[str, int]]:
    """What the trace shows, in order: events stored, synced, shown, each by its number."""
    stored: set[int] = set()
    syncing: dict[str, set[int]] = {}
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        pid, call, rest = match["pid"], match["call"], match["rest"]
        if call == "pwrite64" and "-wal>" in rest:
            for number in map(int, _STORED.findall(rest)):
                stored.add(number)
                yield "stored", number
        elif call in ("fdatasync", "fsync"):
            if "-wal>" in rest:
                syncing[pid] = set(stored)  # what was written before it began
            if pid in syncing and "= 0" in rest:
                for number in sorted(syncing.pop(pid)):
                    yield "synced", number
        elif call in ("write", "writev", "sendto", "sendmsg") and not rest.startswith(" resumed"):
            for number in map(int, _SHOWN.findall(rest)):
                yield "shown", number


def assert_in_order(lines: Iterator[str], numbers: range) -> None:
    """Every event was stored, then synced, and only then shown for the first time."""
    seen: dict[str, set[int]] = {"stored": set(), "synced": set(), "shown": set()}
    for what, number in happenings(lines):
        if what == "shown":
            assert number in seen["stored"], f"event {number} was shown before it was written"
            assert number in seen["synced"], f"event {number} was shown before it was synced"
        seen[what].add(number)
    assert seen["shown"] == seen["stored"] == set(numbers)


def test_an_order_that_is_wrong_is_found() -> None:
    store = r'7  pwrite64(9</x/tasks.db-wal>, "..{\"seq\":1,\"timestamp\":..", 4096, 0) = 4096'
    begin, end = (
        "7  fdatasync(9</x/tasks.db-wal> <unfinished ...>",
        "7  <... fdatasync resumed>) = 0",
    )
    show = r'8  write(20<socket:[1]>, "5\r\nid: 1\nevent: task_created\ndata: {", 40) = 40'
    assert_in_order(iter([store, begin, end, show]), range(1, 2))
    for wrong in ([store, begin, show, end], [begin, store, end, show], [show, store, begin, end]):
        with pytest.raises(AssertionError, match="was shown before"):
            assert_in_order(iter(wrong), range(1, 2))


async def test_no_event_is_shown_before_the_disk_has_it(tmp_path: Path) -> None:
    if reason := can_trace(tmp_path):
        pytest.skip(reason)
    trace = tmp_path / "trace"
    command = [*strace(trace), sys.executable, "-m", "tests.e2e.serving"]
    with ServerProcess(tmp_path, command=command) as server:
        server.start()
        parts = [
            {"agent": "scripted-1", "repeat": 15, "delay": 0.004, "nonce": True},
            {"agent": "scripted-2", "repeat": 15, "delay": 0.005, "nonce": True},
        ]
        answer = await caller(server).call(
            "POST", "/execute/stream", task(*parts, executionMode="parallel")
        )
        assert server.terminate() == 0
    log = frames(answer.body)
    assert len(log) == 36
    with trace.open(errors="replace") as lines:
        assert_in_order(iter(lines), range(1, len(log) + 1))
