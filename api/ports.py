"""Who listens on a port of this machine, and which port nobody listens on."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

MAX_COMMAND_CHARACTERS = 80  # a sentence has to stay one
TRIES = 100

_LISTENING = "0A"  # state of a socket in /proc/net/tcp


def holder_of(port: int) -> str:
    """Who listens on a port, in words.

    Returns:
        ``process 4711 (python -m http.server)``; ``another process`` where nobody may know.
    """
    inodes = set(_listening_inodes(port))
    for process in _processes() if inodes else ():
        if not inodes.isdisjoint(_socket_inodes(process)):
            command = _command(process)
            return f"process {process.name}" + (f" ({command})" if command else "")
    return "another process"


def free_port(host: str, *, after: int) -> int:
    """The next port on which nobody listens now; `after` itself when there is none."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(after + 1, min(after + TRIES, 65536)):
        with contextlib.suppress(OSError), socket.socket(family) as probe:
            probe.bind((host, port))
            return port
    return after


def _listening_inodes(port: int) -> Iterator[str]:
    """Inodes of the sockets that listen on a port. Linux only; nothing elsewhere."""
    for table in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path("/proc/net", table).read_text().splitlines()[1:]:
                fields = line.split()
                address, state, inode = fields[1], fields[3], fields[9]
                if state == _LISTENING and int(address.rpartition(":")[2], 16) == port:
                    yield inode


def _processes() -> Iterator[Path]:
    with contextlib.suppress(OSError):
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                yield entry


def _socket_inodes(process: Path) -> Iterator[str]:
    """Inodes of a process' sockets; none when it belongs to somebody else."""
    with contextlib.suppress(OSError):
        for descriptor in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                target = os.readlink(descriptor)
                if target.startswith("socket:["):
                    yield target[8:-1]


def _command(process: Path) -> str:
    with contextlib.suppress(OSError):
        words = (process / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        command = b" ".join(words).decode(errors="replace")
        if len(command) > MAX_COMMAND_CHARACTERS:
            command = command[: MAX_COMMAND_CHARACTERS - 1] + "…"
        return command
    return ""
