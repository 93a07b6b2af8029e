"""Streams: a reader's frames on their way into one HTTP answer.

Pure ASGI: a `StreamingResponse` costs more than everything else on this path. One loop per stream
takes frames from its reader and sends them. Whatever depends on time (silence, a client that does
not read, a token that ends) is one tick for all streams of the process. A stream that lives to see
a tick gets a small task beside it that waits for the disconnect, since sending to a client that is
gone raises nothing; shorter ones are over before it would matter.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from api import sse
from api.auth import ADMIN
from api.errors import Header
from api.places import Place, Places
from api.wire import chunked
from orchestrator.activity import ActivityLog
from orchestrator.errors import TaskNotFound

if TYPE_CHECKING:
    from api.endpoint import Call

log = ActivityLog(__name__).line

TICK_SECONDS = 1.0  # how late a disconnect, the end of a token or a silence may be noticed
UNDRAINED_SECONDS = 60.0
"""A client that takes nothing for so long holds up to 256 KiB of ours; its cursor resumes it."""


class Cursor(Protocol):
    """What a stream reads: a task's log, as `channels.Reader` does, or the worker's."""

    cursor: int

    @property
    def ready(self) -> bool:
        """Whether `next` will return frames without waiting for new ones."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left and nothing will come."""

    async def next(self) -> bytes | None:
        """The frames that follow; empty when `nudge` ended the wait, None at the end."""

    def nudge(self) -> None:
        """End the wait of `next`."""

    def follow(self, push: Callable[[bytes], bool]) -> None:
        """While `next` waits, new frames may be given to `push`, which says whether it took them.

        Frames that `push` took are behind the cursor; the wait goes on.
        """

    def close(self) -> None:
        """Read no more."""


class Stream:
    """One answer. Made by `Streams.serve`."""

    __slots__ = (
        "_call", "_now", "_watching", "gone", "last_sent", "principal", "reader", "sending",
        "task_id",
    )  # fmt: skip

    def __init__(self, task_id: str, reader: Cursor, call: Call, now: Callable[[], float]) -> None:
        self._call = call
        self._now = now
        self._watching: asyncio.Task[None] | None = None
        self.task_id = task_id
        self.reader = reader
        self.principal = call.principal
        self.last_sent = now()
        self.sending = False
        self.gone = ""
        """Why it ends early; empty while it goes on."""
        reader.follow(self._push)

    async def send(self, body: bytes, *, last: bool = False) -> None:
        """Send a piece of the body; waits while the client does not keep up."""
        self.last_sent = self._now()
        self.sending = True
        await self._call.send({"type": "http.response.body", "body": body, "more_body": not last})
        self.sending = False

    def leave(self, why: str) -> None:
        """End it: the client went, its token ended, it does not read, or the server goes down."""
        self.gone = self.gone or why
        self.reader.nudge()

    def watch(self) -> None:
        """Begin to wait for the disconnect, if nobody does."""
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch())

    def close(self) -> None:
        """Leave the log and wait for nothing more."""
        if self._watching is not None:
            self._watching.cancel()
        self.reader.close()

    async def _watch(self) -> None:
        while (await self._call.receive())["type"] != "http.disconnect":
            pass
        self.leave("disconnected")

    def abort(self) -> None:
        """End the connection: only that frees what waits to be sent."""
        self.leave("undrained")
        self._call.outlet.abort()

    def _push(self, frames: bytes) -> bool:
        """Send frames without a step of the coroutine that serves the stream."""
        if self.gone or not self._call.outlet.push(_chunks.of(frames)):
            return False
        self.last_sent = self._now()
        return True


class _Chunks:
    """Makes a chunk of frames once, however many readers they are pushed to."""

    __slots__ = ("_chunk", "_frames")

    def __init__(self) -> None:
        self._frames = self._chunk = b""

    def of(self, frames: bytes) -> bytes:
        """The chunk of some frames."""
        if frames is not self._frames:
            self._frames, self._chunk = frames, chunked(frames)
        return self._chunk


_chunks = _Chunks()


class Streams:
    """All open streams of the process.

    Args:
        keepalive_seconds: Silence after which a comment is sent.
        places: How many may be open.
        wall_seconds: Wall time, for the end of tokens.
    """

    def __init__(
        self,
        *,
        keepalive_seconds: float,
        places: Places,
        wall_seconds: Callable[[], float],
    ) -> None:
        self._keepalive_seconds = keepalive_seconds
        self.places = places
        """How many may be open, and are."""
        self._wall_seconds = wall_seconds
        self._streams: set[Stream] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._streams)

    def place(self, owner: str) -> Place:
        """A place for one more stream of an owner, not taken yet."""
        return Place(self.places, owner)

    async def serve(
        self, call: Call, *, task_id: str, reader: Cursor, headers: list[Header]
    ) -> None:
        """Answer a request with everything behind the reader's cursor, until the task's end.

        Args:
            call: The request, whose body was read; the stream ends with its token.
            task_id: The task.
            reader: Closed at the end.
            headers: Header fields beside those of every stream.
        """
        stream = Stream(task_id, reader, call, self._loop.time)
        self._enter(stream)
        log("reader came", {"task_id": task_id, "after": reader.cursor})
        try:
            await call.send(
                {"type": "http.response.start", "status": 200, "headers": [*sse.HEADERS, *headers]}
            )
            await _send_all(stream)
        except TaskNotFound:  # deleted meanwhile: it ends without an end frame
            stream.gone = "deleted"
            await stream.send(b"", last=True)
        finally:
            stream.close()
            self._streams.discard(stream)
            why = stream.gone or "end"
            log("reader went", {"task_id": task_id, "cursor": reader.cursor, "why": why})

    def close(self) -> None:
        """End all streams, also those that begin from now on: the server goes down."""
        self._closed.set()
        for stream in self._streams:
            stream.leave("drain")

    def keep_readers(self, task_id: str, may_read: Callable[[str], bool]) -> None:
        """End the streams of those who may not read a task any more.

        Args:
            task_id: The task whose shares have changed.
            may_read: Whether a subject may read it now; admins always may.
        """
        for stream in self._streams:
            if stream.task_id != task_id or stream.principal.may(ADMIN):
                continue
            if not may_read(stream.principal.subject):
                stream.leave("no longer shared")

    async def wait_closed(self) -> None:
        """Return when the server goes down."""
        await self._closed.wait()

    def _enter(self, stream: Stream) -> None:
        self._streams.add(stream)
        if self._closed.is_set():
            stream.leave("drain")
        if self._timer is None:
            self._arm()

    def _arm(self) -> None:
        seconds = min(TICK_SECONDS, self._keepalive_seconds / 2)
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        """Look at every stream once; again soon, as long as there are any."""
        self._timer = None
        if self._streams:
            self._arm()
        now, wall = self._loop.time(), self._wall_seconds()
        for stream in list(self._streams):
            silent = now - stream.last_sent
            stream.watch()
            if wall >= stream.principal.expires_at:
                stream.leave("token expired")
            if stream.sending:  # whatever else is to end it waits for the client, too
                if silent >= UNDRAINED_SECONDS:
                    stream.abort()
            elif silent >= self._keepalive_seconds:
                stream.reader.nudge()


async def _send_all(stream: Stream) -> None:
    reader = stream.reader
    begin, newest = sse.BEGIN, b""
    if not reader.ready:
        await stream.send(begin)
        begin = b""
    while not stream.gone:
        frames = await reader.next()
        if stream.gone:
            break
        if frames is None:  # the log had the end before the channel knew of it
            end = sse.end_frame(stream.task_id, newest) if newest else b""
            await stream.send(begin + end, last=True)
            return
        if reader.ended and frames:
            end = sse.end_frame(stream.task_id, frames)
            await stream.send(begin + frames + end, last=True)
            return
        await stream.send(begin + frames if frames else sse.KEEPALIVE)
        if frames:
            begin, newest = b"", sse.terminal_frame(frames)
        del frames  # up to 256 KiB that an idle reader would hold for as long as it waits
    await stream.send(sse.DRAIN if stream.gone == "drain" else b"", last=True)
