"""Process groups: what is left of an attempt is killed, strangers never are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from orchestrator.processes import (
    MARKER,
    ProcessGroup,
    attempt_marker,
    group_is_alive,
    kill_process_group,
    led_by,
    program_environment,
    signal_group,
)

MINE = attempt_marker("task", "role", 1)
ROOT = Path(__file__).parents[2]
Start = Callable[..., subprocess.Popen[bytes]]

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# The leader starts a member, says so, and ends when its stdin does.
LEADER_WITH_MEMBER = ["sh", "-c", "sleep 300 <&- >&- & echo ready; read line"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts leaders of groups; whatever is left of them afterwards is killed."""
    started: list[subprocess.Popen[bytes]] = []

    def start(arguments: Sequence[str], marker: str = MINE) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            arguments,
            env={"PATH": os.environ["PATH"], MARKER: marker},
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        signal_group(process.pid, signal.SIGKILL)
        process.communicate()


def ready(process: subprocess.Popen[bytes]) -> ProcessGroup:
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    return led_by(process.pid)


def left_by_its_leader(process: subprocess.Popen[bytes]) -> ProcessGroup:
    """The group of a process that has ended and left a member behind."""
    group = ready(process)
    process.communicate()
    assert group_is_alive(group.id)
    return group


def eventually(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it did not become so in time"
        time.sleep(0.01)


def test_a_group_is_killed_with_all_its_members(start: Start) -> None:
    process = start(LEADER_WITH_MEMBER)
    group = ready(process)
    assert group.id == process.pid
    assert kill_process_group(group)
    assert not group_is_alive(group.id)
    assert process.wait() == -signal.SIGKILL
    assert not kill_process_group(group), "nothing was left the second time"


def test_the_start_time_stays_the_same_and_differs_between_processes(start: Start) -> None:
    first = start(["sleep", "300"])
    identity = led_by(first.pid)
    assert identity.started > 0
    # The clock of processes ticks 100 times a second.
    eventually(lambda: led_by(start(["sleep", "300"]).pid).started > identity.started)
    assert led_by(first.pid) == identity


@linux
def test_a_group_whose_leader_is_gone_is_known_by_the_marker(start: Start) -> None:
    group = left_by_its_leader(start(LEADER_WITH_MEMBER))
    assert kill_process_group(group, marker=MINE)
    assert not group_is_alive(group.id)


@pytest.mark.parametrize("marker", [None, "", "task/role/2", "task/role/11", "task/rol"])
def test_a_group_that_proves_nothing_is_left_alone(start: Start, marker: str | None) -> None:
    group = left_by_its_leader(start(LEADER_WITH_MEMBER))
    assert not kill_process_group(group, marker=marker)
    assert group_is_alive(group.id)


def test_a_number_that_was_given_to_another_process_is_left_alone(start: Start) -> None:
    process = start(["sleep", "300"])
    group = led_by(process.pid)
    for started in (0, group.started - 1, group.started + 1):
        assert not kill_process_group(ProcessGroup(group.id, started), marker=MINE)
    assert process.poll() is None


def test_a_process_that_leads_no_group_is_left_alone() -> None:
    process = subprocess.Popen(["sleep", "300"])
    try:
        assert not kill_process_group(led_by(process.pid))
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_nobody_kills_the_own_group() -> None:
    """In a process of its own, since a failure of this test would end the tests."""
    script = (
        "import os, sys\n"
        "from orchestrator.processes import kill_process_group, led_by, signal_group\n"
        "group = led_by(os.getpid())\n"
        "assert group.id == os.getpgrp()\n"
        "sys.exit(0 if not kill_process_group(group) and not signal_group(group.id, 9) else 1)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], start_new_session=True, check=False)
    assert done.returncode == 0


@pytest.mark.parametrize("number", [-5, 0, 1])
def test_a_number_that_is_no_group_of_ours_is_refused(number: int) -> None:
    assert not kill_process_group(ProcessGroup(number, led_by(1).started), marker=MINE)
    assert not signal_group(number, 0)


def test_a_process_that_is_gone_has_no_start_time() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert led_by(process.pid) == ProcessGroup(process.pid, 0)


def test_a_group_of_ended_processes_is_not_alive(start: Start) -> None:
    process = start(["true"])
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it ended; nobody has taken it
    assert signal_group(process.pid, 0), "it still has its number"
    assert not group_is_alive(process.pid)


@linux
def test_a_program_may_have_any_name(start: Start, tmp_path: Path) -> None:
    program = tmp_path / ") R 1 1 ("
    program.symlink_to("/bin/sleep")
    process = start([str(program), "300"])
    eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text().startswith(")"))
    assert kill_process_group(led_by(process.pid))


def test_what_a_killed_server_leaves_behind_is_found_and_killed(tmp_path: Path) -> None:
    server = tmp_path / "server.py"
    server.write_text(
        "import asyncio\n"
        "from orchestrator.kinds.arguments import Arguments\n"
        "from orchestrator.kinds.command import Command, CommandAgent\n"
        "from tests.orchestrator.kinds.support import Trial, eventually\n"
        "command = Command(arguments=Arguments(['sh', '-c', 'sleep 300 & sleep 300']))\n"
        "trial = Trial(CommandAgent('role', 'n', 'd', command=command))\n"
        "async def main():\n"
        "    task = trial.start()\n"
        "    await eventually(lambda: trial.recorder.groups)\n"
        "    print(*trial.recorder.groups[0], trial.context.task.task_id, flush=True)\n"
        "    await task\n"
        "asyncio.run(main())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    process = subprocess.Popen(
        [sys.executable, str(server)], stdout=subprocess.PIPE, env=environment
    )
    assert process.stdout is not None
    number, started, task_id = process.stdout.readline().split()
    process.kill()
    process.communicate()
    group = ProcessGroup(int(number), int(started))
    assert group_is_alive(group.id), "a killed server cannot take its programs along"
    assert kill_process_group(group, marker=attempt_marker(task_id.decode(), "role", 1))
    assert not group_is_alive(group.id)


def test_a_program_gets_only_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "PATH": "/bin", "HOME": "/home/me", "LANG": "C", "TMPDIR": "/tmp",
        "POSTSTREAM_JWT_SECRET": "secret", "AWS_SECRET_ACCESS_KEY": "secret", "TOKEN": "t",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NOT_SET", raising=False)
    assert program_environment(["TOKEN", "NOT_SET"], {"LANG": "de"}, marker=MINE) == {
        "PATH": "/bin", "HOME": "/home/me", "LANG": "de", "TMPDIR": "/tmp",
        "TOKEN": "t", MARKER: "task/role/1",
    }  # fmt: skip
