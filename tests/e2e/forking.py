"""Servers without the half second an interpreter and its imports take: forked when they are wanted.

Run as a module it is the mould: it has imported everything and started nothing. Each line on its
input are the environment and arguments of a server; it answers with the number of the process.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.server import ROOT, ServerProcess


class Forked:
    """A process that somebody else is the parent of, with what `ServerProcess` needs of Popen."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """None while it runs."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_bytes()
        except OSError:
            return 0
        return None if stat[stat.rindex(b")") + 2 :][:1] not in b"ZX" else 0

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float = 10) -> int:
        """Wait for its end; its status is its parent's."""
        descriptor = os.pidfd_open(self.pid) if self.poll() is None else None
        if descriptor is not None:
            try:
                assert select.select([descriptor], [], [], timeout)[0], "it does not end"
            finally:
                os.close(descriptor)
        return 0


class ForkedServer(ServerProcess):
    """A test server that is forked from a mould."""

    def __init__(self, folder: Path, mould: subprocess.Popen[str]) -> None:
        super().__init__(folder, command=[])
        self._mould = mould
        self.arguments: list[str] = []

    def _popen(self, environment: dict[str, str]) -> Any:
        job = {"environment": environment, "arguments": self.arguments, "folder": str(self.folder)}
        assert self._mould.stdin is not None
        assert self._mould.stdout is not None
        for name in ("stdout", "stderr"):
            (self.folder / name).write_bytes(b"")
        print(json.dumps(job), file=self._mould.stdin, flush=True)
        return Forked(int(self._mould.stdout.readline()))


@contextmanager
def mould() -> Iterator[subprocess.Popen[str]]:
    """The process that servers are forked from."""
    with subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
    ) as process:  # fmt: skip
        yield process
        assert process.stdin is not None
        process.stdin.close()


def _serve(job: dict[str, Any]) -> None:
    """What a child does: become the server, as if it had just been started."""
    from tests.e2e.serving import main

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    folder = Path(job["folder"])
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(job["environment"])
    for number, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        flags = os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT
        descriptor = os.open(name, flags)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.argv = ["serving", *job["arguments"]]
    os._exit(main())


def _main() -> None:
    import tests.e2e.serving  # noqa: F401 - that is what a mould is for

    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody asks how they ended
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _serve(json.loads(line))
        print(child, flush=True)


if __name__ == "__main__":
    _main()
