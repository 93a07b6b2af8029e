"""Channels: the newest events of tasks that somebody reads, kept in memory behind the log.

A reader is a cursor. It takes what follows its cursor from memory when it is there, else from the
log, and checks that the numbers follow. So a slow reader costs nobody anything, and memory has one
bound for the whole process.

Frames are kept as they were committed: those of one transaction in one piece, which is also what is
sent to readers that keep up. What is more than one write is cut. What every reader of a task was
given at once is not kept.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence

from orchestrator.errors import StorageError, TaskNotFound
from orchestrator.events import framed
from orchestrator.store.events import Appended, FramePage, StoredEvent
from orchestrator.tasks import END_STATES

logger = logging.getLogger(__name__)

MAX_FRAMES = 512  # one write: more saves nothing
MAX_BYTES = 256 * 1024  # one write: what a reader that stops reading costs
PIECE_BYTES = 200  # what a piece takes beside its frames

Page = Callable[[int, int], Awaitable[FramePage | None]]
"""Reads a page of a log: (`task.id`, after). None when there is nothing behind it."""


class Channel:
    """The newest frames of one task."""

    __slots__ = ("bytes", "ended", "id", "last_seq", "pieces", "readers", "removed", "waiting")

    def __init__(self, id: int) -> None:
        self.id = id
        self.pieces: dict[int, tuple[int, bytes]] = {}
        """By the number of its first frame: the number of its last one, and the frames."""
        self.bytes = 0
        """What they take."""
        self.last_seq = 0
        """End of the log, as far as it is known here."""
        self.ended = False
        """Whether the task was in an end state at `last_seq`."""
        self.removed = False
        """Whether the task was deleted."""
        self.readers = 0
        self.waiting: dict[Reader, None] = {}  # in order, and soon removed

    def wake(self) -> None:
        """Wake everybody who waits here, once."""
        waiting, self.waiting = self.waiting, {}
        for reader in waiting:
            reader.wake()

    def show(self, first: int, frames: bytes) -> bool:
        """Give new frames to those who wait for just these and take them; wake the others.

        Args:
            first: Number of the first of them; the last is the end of the log.
            frames: Not more than one write may have.

        Returns:
            Whether every reader of the task has them now.
        """
        for reader in list(self.waiting):
            if reader.cursor != first - 1 or not reader.push(frames, self.last_seq):
                del self.waiting[reader]
                reader.wake()
        return len(self.waiting) == self.readers


class Channels:
    """All channels of a process.

    Args:
        max_bytes: How much memory all frames together may take; the oldest go first.
        page: Reads the log.
    """

    def __init__(self, *, max_bytes: int, page: Page) -> None:
        self.loop = asyncio.get_running_loop()
        """On which readers wait."""
        self._max_bytes = max_bytes
        self._page = page
        self._channels: dict[int, Channel] = {}
        self.on_left: Callable[[int], None] = _nothing
        """Called when the last reader of a task leaves that has ended and was read to its end."""
        self._ages: deque[tuple[Channel, int]] = deque()  # each piece, oldest first
        self._kept = 0
        self.bytes = 0
        """What all frames take now."""

    @property
    def readers(self) -> int:
        """How many readers there are."""
        return sum(channel.readers for channel in self._channels.values())

    def open(self, id: int, *, after: int, page: Sequence[StoredEvent] = ()) -> Reader:
        """A reader of a task that starts behind `after`.

        Args:
            id: `task.id`.
            after: Exclusive.
            page: Events that were just committed, kept for this reader.
        """
        channel = self._channels.get(id)
        if channel is None:
            channel = self._channels[id] = Channel(id)
        channel.readers += 1
        if page:
            channel.last_seq = page[-1].seq
            self._keep_all(channel, page, _one_write(page))
        return Reader(self, channel, after)

    def publish(self, appended: Appended) -> None:
        """Show what a transaction added. Called after its commit, in the order of commits."""
        channel = self._channels.get(appended.id)
        if channel is None:
            return
        events = appended.events
        channel.ended = appended.status in END_STATES
        channel.last_seq = events[-1].seq
        frames = _one_write(events)
        if frames is None or channel.ended or not channel.waiting:
            self._keep_all(channel, events, frames)
            channel.wake()
        elif not channel.show(events[0].seq, frames):
            self._keep_all(channel, events, frames)

    def remove(self, id: int) -> None:
        """The task was deleted: its readers end."""
        channel = self._channels.get(id)
        if channel is not None:
            channel.removed = True
            channel.wake()

    def is_open(self, id: int) -> bool:
        """Whether somebody reads a task."""
        return id in self._channels

    def leave(self, channel: Channel, *, at_end: bool) -> None:
        """A reader went; with the last one the frames go.

        Args:
            channel: What it read.
            at_end: Whether it had read all of a task that has ended.
        """
        channel.readers -= 1
        if channel.readers == 0:
            self._channels.pop(channel.id, None)
            self.bytes -= channel.bytes
            self._kept -= len(channel.pieces)
            channel.pieces.clear()  # `_ages` holds the channel for a while
            channel.bytes = 0
            if at_end and not channel.removed:
                self.on_left(channel.id)

    async def read_page(self, id: int, after: int) -> FramePage | None:
        """A page of the log."""
        return await self._page(id, after)

    def _keep_all(
        self, channel: Channel, events: Sequence[StoredEvent], frames: bytes | None
    ) -> None:
        """Keep the frames of new events for those who do not have them yet.

        Args:
            channel: Of their task.
            events: In order.
            frames: All of them; None if they are more than one write.
        """
        if frames is not None:
            self._keep(channel, events[0].seq, events[-1].seq, frames)
        else:
            for piece in _cut(events):
                self._keep(channel, piece[0].seq, piece[-1].seq, framed(piece))
        while self.bytes > self._max_bytes:
            self._drop_oldest()
        if len(self._ages) > 2 * self._kept + MAX_FRAMES:  # then each costs a constant
            self._forget_dropped()

    def _keep(self, channel: Channel, first: int, last: int, frames: bytes) -> None:
        channel.pieces[first] = last, frames
        size = len(frames) + PIECE_BYTES
        channel.bytes += size
        self.bytes += size
        self._kept += 1
        self._ages.append((channel, first))

    def _drop_oldest(self) -> None:
        channel, first = self._ages.popleft()
        piece = channel.pieces.pop(first, None)
        if piece is not None:
            size = len(piece[1]) + PIECE_BYTES
            channel.bytes -= size
            self.bytes -= size
            self._kept -= 1

    def _forget_dropped(self) -> None:
        self._ages = deque(age for age in self._ages if age[1] in age[0].pieces)


class Reader:
    """A cursor over one task's log. Close it when done.

    `next` must not be called by two at once.
    """

    __slots__ = ("_channel", "_channels", "_closed", "_nudged", "_push", "_waiter", "cursor")

    def __init__(self, channels: Channels, channel: Channel, after: int) -> None:
        self._channels = channels
        self._channel = channel
        self._waiter: asyncio.Future[None] | None = None
        self._push: Callable[[bytes], bool] | None = None
        self._nudged = False
        self._closed = False
        self.cursor = after
        """Number of the last event that `next` returned."""

    @property
    def ended(self) -> bool:
        """Whether there is nothing left and the task is in an end state."""
        return self._channel.ended and self.cursor >= self._channel.last_seq

    @property
    def ready(self) -> bool:
        """Whether `next` will return frames without waiting for new ones."""
        return self.cursor < self._channel.last_seq

    def known(self, *, last_seq: int, ended: bool) -> None:
        """Tell the channel what a read of the task's row has shown."""
        if last_seq >= self._channel.last_seq:
            self._channel.last_seq = last_seq
            self._channel.ended = ended

    async def next(self) -> bytes | None:
        """The frames that follow, at most `MAX_FRAMES` and about `MAX_BYTES`.

        Returns:
            Frames; empty when `nudge` ended the wait; None when the task is in an end state and
            everything was returned.

        Raises:
            TaskNotFound: The task was deleted.
            StorageError: The log has a gap, which must never be.
        """
        channel = self._channel
        while True:
            if channel.removed:
                raise TaskNotFound("")
            if self.cursor < channel.last_seq:
                self._nudged = False
                return self._from_memory() or await self._from_log()
            if channel.ended:
                return None
            if self._nudged:
                self._nudged = False
                return b""
            self._waiter = self._channels.loop.create_future()
            channel.waiting[self] = None
            try:
                await self._waiter
            finally:  # it was woken, nudged or cancelled
                channel.waiting.pop(self, None)

    def follow(self, push: Callable[[bytes], bool]) -> None:
        """While `next` waits, give new frames to `push` instead of returning them.

        Args:
            push: Takes frames, or says False: then `next` returns them. The end of the task and
                what is too much for one write always end the wait.
        """
        self._push = push

    def push(self, frames: bytes, last: int) -> bool:
        """Give frames up to a number past `next`, if they are taken."""
        try:
            if self._push is None or not self._push(frames):
                return False
        except Exception:  # of a connection: all others get this event, and its run goes on
            logger.exception("a reader could not be given frames")
            return False
        self.cursor = last
        return True

    def wake(self) -> None:
        """There is something new."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def nudge(self) -> None:
        """End the wait of `next`."""
        self._nudged = True
        self.wake()

    def close(self) -> None:
        """Leave the channel."""
        if not self._closed:
            self._closed = True
            self._push = None  # it knows its reader: together they would wait for the collector
            self._channels.leave(self._channel, at_end=self.ended)

    def _from_memory(self) -> bytes:
        """Frames behind the cursor; none when they are not kept, or not here yet."""
        channel = self._channel
        last, frames = channel.pieces.get(self.cursor + 1, (0, b""))
        if 0 < last < channel.last_seq:
            first = self.cursor + 1
            some, size = [frames], len(frames)
            while (next := channel.pieces.get(last + 1)) is not None:
                size += len(next[1])
                if size > MAX_BYTES or next[0] - first >= MAX_FRAMES:
                    break
                last = next[0]
                some.append(next[1])
            frames = b"".join(some)
        self.cursor = last or self.cursor
        return frames

    async def _from_log(self) -> bytes:
        page = await self._channels.read_page(self._channel.id, self.cursor)
        if page is None:  # only a task that is being deleted has less than was counted
            raise TaskNotFound("")
        if page.first != self.cursor + 1 or page.last != self.cursor + page.length:
            raise StorageError(f"the log has a gap behind event {self.cursor}")
        self.cursor = page.last
        return page.frames


def _one_write(events: Sequence[StoredEvent]) -> bytes | None:
    """The frames of some events; None if they are more than one write."""
    frames = framed(events)
    return frames if len(frames) <= MAX_BYTES and len(events) <= MAX_FRAMES else None


def _cut(events: Sequence[StoredEvent]) -> Iterator[Sequence[StoredEvent]]:
    """Pieces whose frames fit one write, or are one frame."""
    start = size = 0
    for end, event in enumerate(events):
        added = len(framed((event,)))
        size += added
        if end > start and (size > MAX_BYTES or end - start == MAX_FRAMES):
            yield events[start:end]
            start, size = end, added
    yield events[start:]


def _nothing(id: int) -> None:
    """Nobody wants to know."""
