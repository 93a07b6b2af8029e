"""One program in a process group of its own: started, read with bounds, and always ended.

Built on asyncio's subprocess protocol rather than on its streams, because `Process.wait` there
returns only when all pipes are closed, and a grandchild that keeps one open would hold it for
ever. The exit of the program itself is what counts here: what it leaves behind is killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import cast

from orchestrator.kinds.waiting import finished
from orchestrator.processes import (
    MARKER,
    ProcessGroup,
    group_is_alive,
    kill_marked,
    led_by,
    signal_group,
)  # fmt: skip

logger = logging.getLogger(__name__)

TERM_SECONDS = 2.0
"""How long a group may take to end after SIGTERM, before SIGKILL."""
KILL_SECONDS = 5.0
"""How long a killed group is waited for: what the kernel holds must not hold the agent."""
LATE_SECONDS = 1.0
"""How long output is waited for in all once the program has ended: what it wrote is there at once,
so more can only come from a process that left the group and holds the pipe."""

_LATE_PIECES = 64  # far more than a pipe can hold; a process outside might write for ever
_BUFFER_BYTES = 256 * 1024  # unread output; above it the program waits in its own write
_STDERR_BYTES = 8 * 1024  # enough for 2,000 characters of any script


class Program(asyncio.SubprocessProtocol):
    """A program that runs once.

    `start` it, `read` until the output ends, ask for its `status`, and `stop` it in any case.

    Args:
        arguments: The program and its arguments; no shell reads them.
        folder: Its working directory.
        environment: All of its environment.
        stdin: What it reads, or None for nothing. Given by `send`, not at the start.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: dict[str, str],
        stdin: bytes | None = None,
    ) -> None:
        self._arguments = arguments
        self._folder = folder
        self._environment = environment
        self._stdin = stdin
        self._transport: asyncio.SubprocessTransport | None = None
        self._output = bytearray()
        self._output_ended = False
        self._paused = False
        self._late_seconds = LATE_SECONDS
        self._late_pieces = _LATE_PIECES
        self._stderr = bytearray()
        self._exited = asyncio.Event()
        self._changed = asyncio.Event()
        self._stopping = False
        self.group = ProcessGroup(0, 0)

    # --- what asyncio calls ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; comes before every other call, even of a program that is over."""
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.group = led_by(self._transport.get_pid())

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep output up to a bound, and the end of stderr."""
        if fd == 2:
            self._stderr += data
            del self._stderr[:-_STDERR_BYTES]
            return
        self._output += data
        self._changed.set()
        pipe = self._pipe(1)
        if len(self._output) > _BUFFER_BYTES and not self._paused and not pipe.is_closing():
            self._paused = True
            pipe.pause_reading()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note the end of the output."""
        if fd == 1:
            self._output_ended = True
            self._changed.set()

    def process_exited(self) -> None:
        """Kill what it left behind, unless `stop` is still giving that its time."""
        if not self._stopping:
            signal_group(self.group.id, signal.SIGKILL)
        self._exited.set()
        self._changed.set()

    # --- what the agent calls ----------------------------------------------------------------

    async def start(self) -> None:
        """Start it.

        Raises:
            OSError: It cannot be started.
        """
        loop = asyncio.get_running_loop()
        # In a task of its own: a cancel in the middle would leave a process nobody knows of.
        await finished(loop.create_task(self._start(loop)))

    async def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        await loop.subprocess_exec(
            lambda: self,
            *self._arguments,
            stdin=DEVNULL if self._stdin is None else PIPE,
            stdout=PIPE,
            stderr=PIPE,
            cwd=self._folder,
            env=self._environment,
            start_new_session=True,
        )

    def send(self) -> None:
        """Give it its stdin."""
        if self._stdin is not None:
            pipe = cast("asyncio.WriteTransport", self._pipe(0))
            if not pipe.is_closing():
                pipe.write(self._stdin)
                pipe.close()

    async def read(self) -> bytes:
        """The next piece of its output, up to some 512 KiB; empty at the end."""
        while not self._output:
            if self._output_ended or self._late_seconds <= 0:
                return b""
            self._changed.clear()
            if self._exited.is_set():
                await self._wait_for_late_output()
            else:
                await self._changed.wait()
        if self._exited.is_set():
            self._late_pieces -= 1
            if self._late_pieces < 0:
                return b""
        piece = bytes(self._output)
        self._output.clear()
        if self._paused:
            self._paused = False
            self._pipe(1).resume_reading()
        return piece

    async def _wait_for_late_output(self) -> None:
        loop = asyncio.get_running_loop()
        since = loop.time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._late_seconds):
                await self._changed.wait()
        self._late_seconds -= loop.time() - since

    async def status(self) -> int:
        """Its exit status, once it has ended; the negative number of a signal that ended it."""
        await self._exited.wait()
        status = self._transport.get_returncode() if self._transport else None
        return -signal.SIGKILL if status is None else status

    @property
    def stderr(self) -> str:
        """The end of what it wrote to stderr."""
        return self._stderr.decode("utf-8", "replace")

    async def stop(self) -> None:
        """End it, its whole group, and what left the group. Returns when all are dead."""
        if self._transport is not None:
            await finished(asyncio.get_running_loop().create_task(self._stop(self._transport)))

    async def _stop(self, transport: asyncio.SubprocessTransport) -> None:
        # Once the group is empty its number may be given away, so it is not signalled again.
        self._stopping = True
        if not self._exited.is_set():
            signal_group(self.group.id, signal.SIGTERM)
            if not await self._gone(TERM_SECONDS):
                signal_group(self.group.id, signal.SIGKILL)
        if not await self._gone(KILL_SECONDS):
            logger.warning("process group %s cannot be killed", self.group.id)
        if (marker := self._environment.get(MARKER)) is not None:
            await asyncio.to_thread(kill_marked, [marker])
        transport.close()

    async def _gone(self, seconds: float) -> bool:
        """Wait until the program and its group are dead; False when they are not in time."""
        try:
            async with asyncio.timeout(seconds):
                await self._exited.wait()
                while await asyncio.to_thread(group_is_alive, self.group.id):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        return True

    def _pipe(self, fd: int) -> asyncio.ReadTransport:
        assert self._transport is not None
        return cast("asyncio.ReadTransport", self._transport.get_pipe_transport(fd))
