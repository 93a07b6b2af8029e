"""Processors: who may use which, and who has used how much."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")  # of /proc/stat
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

_ALLOWED = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = _ALLOWED[0], _ALLOWED[-1]
"""The same one when there is only one; then no figure means much."""


@contextlib.contextmanager
def pinned(cpu: int) -> Iterator[None]:
    """Whatever is started inside stays on one processor for good."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def raise_open_files() -> int:
    """Allow as many open files as one may have here; servers inherit it."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def used_seconds(pid: int) -> float:
    """Processor time of a process and all below it."""
    return sum(_clock(p) for p in _tree(pid))


def resident_bytes(pid: int) -> int:
    """Memory of a process and all below it."""
    return sum(int(stat[21]) for p in _tree(pid) if (stat := _stat(p))) * PAGE_BYTES


def busy_seconds() -> float:
    """Processor time that everything on this machine has used."""
    first = Path("/proc/stat").read_text().partition("\n")[0]
    user, nice, system, _, _, irq, soft_irq, stolen = map(int, first.split()[1:9])
    return (user + nice + system + irq + soft_irq + stolen) / TICKS_PER_SECOND


def _tree(pid: int) -> list[int]:
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and (stat := _stat(int(folder.name))):
            children.setdefault(int(stat[1]), []).append(int(folder.name))
    tree = [pid]
    for parent in tree:  # grows meanwhile
        tree += children.get(parent, [])
    return tree


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third on; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _clock(pid: int) -> float:
    """Linux numbers the processor clocks of processes like this; /proc counts hundredths only."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0  # it is gone
