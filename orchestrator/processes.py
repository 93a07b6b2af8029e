"""Process groups of command agents: their identity, their environment and their end.

A server that is killed leaves the programs of its agents behind. So an attempt stores the group it
started, and whoever takes the task over ends what is left of it before the next attempt. Numbers
of processes are used again; hence a group is ended only if it is provably that attempt's: its
leader has the same start time, or, where the leader is gone, a member carries the attempt's marker
in its environment. When in doubt a process is left alone.

A process that left its group (``setsid``, a daemon) is found by the marker and killed like the
rest. Linux reads ``/proc``; macOS asks ``ps`` and cannot see markers, so there a group is over for
us once its leader is gone, and what left it is not followed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

MARKER = "PS_ATTEMPT"
"""Environment variable that tells which attempt a process belongs to; children inherit it."""

PASSED_ON = ("PATH", "HOME", "LANG", "TMPDIR")
"""What a program gets of the server's environment unless its table names more."""

_KILL_WAIT_SECONDS = 1.0  # a killed process is gone in milliseconds unless the kernel holds it


class ProcessGroup(NamedTuple):
    """A process group as it is stored with an attempt."""

    id: int
    """Number of the group, which is that of its leader."""
    started: int
    """When the leader started: clock ticks since boot on Linux, seconds since 1970 on macOS;
    0 when it had ended before anybody could look."""


class _Process(NamedTuple):
    id: int
    group: int
    zombie: bool
    started: int


def attempt_marker(task_id: str, role: str, attempt: int) -> str:
    """The value of `MARKER` in every process of an attempt."""
    return f"{task_id}/{role}/{attempt}"


def program_environment(
    names: Iterable[str], fixed: Mapping[str, str], *, marker: str
) -> dict[str, str]:
    """The whole environment of a program.

    Args:
        names: Variables to pass on besides `PASSED_ON`; those that are not set are left out.
        fixed: Variables with values of their own.
        marker: See `attempt_marker`.
    """
    passed = {name: os.environ[name] for name in (*PASSED_ON, *names) if name in os.environ}
    return {**passed, **fixed, MARKER: marker}


def led_by(process_id: int) -> ProcessGroup:
    """The group that a process just started in a session of its own leads."""
    leader = _process(process_id)
    return ProcessGroup(process_id, leader.started if leader else 0)


def signal_group(group_id: int, number: int) -> bool:
    """Send a signal to every member; False when there is none that may be signalled.

    Only for groups that are known to be ours: nothing is checked but that it is not our own.
    """
    if group_id <= 1 or group_id == os.getpgrp():
        return False
    try:
        os.killpg(group_id, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def group_is_alive(group_id: int) -> bool:
    """Whether a member still runs. Those that ended and wait for their parent do not count."""
    return signal_group(group_id, 0) and any(not member.zombie for member in _members(group_id))


def kill_process_group(group: ProcessGroup, *, marker: str | None = None) -> bool:
    """Kill what is left of an attempt's process group. Blocks for a second at most.

    Args:
        group: As it was stored.
        marker: The attempt's `attempt_marker`; without it a group whose leader is gone is left
            alone.

    Returns:
        Whether something was left and is dead now. False also when the number belongs to
        strangers by now: they are never touched.
    """
    if not _is_ours(group, marker) or not group_is_alive(group.id):
        return False
    signal_group(group.id, signal.SIGKILL)
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while group_is_alive(group.id):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def kill_marked(markers: Iterable[str]) -> int:
    """Kill every process that carries one of these markers, in whatever group it is.

    Blocks for a second at most.

    Returns:
        How many were killed. Always 0 where markers cannot be seen.
    """
    wanted = {f"{MARKER}={marker}".encode() for marker in markers}
    killed: set[int] = set()
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while wanted and time.monotonic() < deadline:  # one that is forked meanwhile is found next
        found = {p.id for p in _processes() if not p.zombie and wanted & _environment(p.id)}
        found.discard(os.getpid())  # a server that was itself started by an agent
        if not found:
            break
        for process_id in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process_id, signal.SIGKILL)
        killed |= found
        time.sleep(0.01)
    return len(killed)


def _is_ours(group: ProcessGroup, marker: str | None) -> bool:
    if group.id <= 1:
        return False
    leader = _process(group.id)
    if leader is not None:
        return leader.group == group.id and leader.started == group.started
    # The number of a group is not given to a new process while the group has members. Still all
    # of it may have ended and another leader come and gone, so one member has to prove itself.
    return marker is not None and any(_carries(m.id, marker) for m in _members(group.id))


def _members(group_id: int) -> Iterator[_Process]:
    return (process for process in _processes() if process.group == group_id)


def _carries(process_id: int, marker: str) -> bool:
    return f"{MARKER}={marker}".encode() in _environment(process_id)


def _environment(process_id: int) -> set[bytes]:
    try:
        with open(f"/proc/{process_id}/environ", "rb") as file:
            return set(file.read().split(b"\0"))
    except OSError:  # it ended, or it is not ours to look at
        return set()


if sys.platform == "linux":

    def _process(process_id: int) -> _Process | None:
        try:
            with open(f"/proc/{process_id}/stat", "rb") as file:
                stat = file.read()
        except OSError:
            return None
        # The second field is the program's name in brackets, which may itself hold blanks and
        # brackets. After it: state, parent, group, …; the start time is field 22 of them all.
        fields = stat[stat.rindex(b")") + 2 :].split()
        return _Process(process_id, int(fields[2]), fields[0] in (b"Z", b"X"), int(fields[19]))

    def _processes() -> Iterator[_Process]:
        for name in os.listdir("/proc"):
            if name.isdigit() and (process := _process(int(name))) is not None:
                yield process

else:

    def _process(process_id: int) -> _Process | None:
        return next(_listed("-p", str(process_id)), None)

    def _processes() -> Iterator[_Process]:
        return _listed("-A")

    def _listed(*selection: str) -> Iterator[_Process]:
        answer = subprocess.run(
            ["/bin/ps", *selection, "-o", "pid=,pgid=,stat=,lstart="],
            env={"LC_ALL": "C"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        for line in answer.stdout.splitlines():
            process_id, group, state, since = line.split(maxsplit=3)
            with contextlib.suppress(ValueError):
                started = int(time.mktime(time.strptime(since, "%a %b %d %H:%M:%S %Y")))
                yield _Process(int(process_id), int(group), state.startswith("Z"), started)
