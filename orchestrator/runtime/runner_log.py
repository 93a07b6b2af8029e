"""The log of the worker: what its loop and its slots do, line by line, for people.

Lines are held in memory and stored once a second, so they cost a task nothing; a kill may lose the
last second, and a full disk drops them. A line about a task names it and its owner, and is put
into words only when somebody reads it: who may not see the title gets the line without.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

from orchestrator.clock import Clock, iso
from orchestrator.events import to_json
from orchestrator.store import runner
from orchestrator.store.database import Database
from orchestrator.store.runner import Row
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)

STORE_SECONDS = 1.0
SHOWN_AT_FIRST = 100  # lines a new reader begins with
MAX_WORDS = 500  # characters of one line: an error may be an essay

LineType = Literal["info", "success", "warning", "error"]


class TaskName(NamedTuple):
    """The task a line is about."""

    task_id: str
    title: str
    owner: str


class Line(NamedTuple):
    """One line."""

    id: int
    """Grows from line to line, also over restarts: milliseconds, or one more than the last."""
    at_ms: int
    thread: int
    """0 is the loop, 1 to N are its slots."""
    type: str
    words: str
    """With `%s` for each of `values`."""
    values: tuple[object, ...]
    task: TaskName | None

    @property
    def told(self) -> str:
        """The words with their values."""
        told = self.words % self.values if self.values else self.words
        told = " ".join(told.split())
        return told if len(told) <= MAX_WORDS else told[: MAX_WORDS - 1] + "…"

    def message(self, *, titled: bool) -> str:
        """The whole message, with the title of its task or without."""
        if self.task is None:
            return self.told
        title = f' "{self.task.title}"' if titled and self.task.title else ""
        return f"Task {self.task.task_id}{title}: {self.told}"

    def to_dict(self, viewer: str | None) -> dict[str, Any]:
        """The line under the names of the wire, as somebody may see it."""
        titled = viewer is None or (self.task is not None and self.task.owner == viewer)
        return {
            "timestamp": iso(self.at_ms),
            "thread": self.thread,
            "message": self.message(titled=titled),
            "type": self.type,
        }

    def visible(self, viewer: str | None) -> bool:
        """Whether somebody may see it: all lines (None), or the loop's and those of own tasks."""
        return viewer is None or not self.thread or (self.task and self.task.owner) == viewer

    def to_row(self) -> Row:
        """The line as it is stored."""
        task = self.task or (None, None, None)
        return (self.id, self.at_ms, self.thread, self.type, self.told, *task)


class RunnerLog:
    """The newest lines, and everybody who follows them.

    Args:
        database: Where lines of earlier processes are read.
        writer: Where lines are stored.
        clock: For timestamps.
        keep: How many lines are kept.
    """

    def __init__(self, database: Database, writer: Writer, clock: Clock, *, keep: int) -> None:
        self._database = database
        self._writer = writer
        self._clock = clock
        self._keep = keep
        # Plain tuples, several for each task; a `Line` is made when somebody reads it.
        self._lines: deque[tuple[int, int, int, str, str, tuple[object, ...], TaskName | None]]
        self._lines = deque(maxlen=keep)
        self.last_id = 0
        """The id of the newest line; 0 when there never was one."""
        self._stored = 0
        self._readers: set[RunnerLogReader] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._waking = False

    async def load(self) -> None:
        """Read what earlier processes have left."""
        rows = await self._database.read(partial(runner.newest_lines, limit=self._keep))
        self._lines.extend(_from_row(row) for row in rows)
        if self._lines:
            self._stored = self.last_id = self._lines[-1][0]

    def add(
        self, thread: int, type: LineType, words: str, values: tuple[object, ...] = (),
        task: TaskName | None = None,
    ) -> None:  # fmt: skip
        """Add a line.

        Args:
            thread: 0 for the loop, 1 to N for its slots.
            type: How it is meant.
            words: What, with `%s` for each of `values`.
            values: Put into words when somebody reads the line.
            task: The task it is about; the message begins with it.
        """
        now = self._clock.wall_ms()
        id = now if now > self.last_id else self.last_id + 1
        self._lines.append((id, now, thread, type, words, values, task))
        self.last_id = id
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(STORE_SECONDS, self._store)
        if self._readers and not self._waking:  # once for all lines of this turn of the loop
            self._waking = True
            asyncio.get_running_loop().call_soon(self._wake)

    def newest(self, viewer: str | None, *, limit: int) -> list[Line]:
        """The newest lines somebody may see, oldest first.

        Args:
            viewer: Whose tasks may be shown; None for everybody's.
            limit: At most so many.
        """
        newest = map(Line._make, reversed(self._lines))
        visible = (line for line in newest if line.visible(viewer))
        return list(itertools.islice(visible, limit))[::-1]

    def follow(self, viewer: str | None, *, after: int | None = None) -> RunnerLogReader:
        """Follow the log.

        Args:
            viewer: Whose tasks may be shown; None for everybody's.
            after: Id of the last line the caller has; None begins with the newest 100.
        """
        if after is None:
            first = self.newest(viewer, limit=SHOWN_AT_FIRST)
            after = first[0].id - 1 if first else self.last_id
        reader = RunnerLogReader(self, viewer, after)
        self._readers.add(reader)
        return reader

    def behind(self, id: int) -> list[Line]:
        """The lines behind one, oldest first, as far as they are kept."""
        found = itertools.takewhile(lambda line: line[0] > id, reversed(self._lines))
        return list(map(Line._make, found))[::-1]

    def leave(self, reader: RunnerLogReader) -> None:
        """A reader went."""
        self._readers.discard(reader)

    async def clear(self) -> None:
        """Remove all lines, here and where they are stored."""
        await self._writer.submit(runner.clear_lines)
        self._stored = self.last_id
        self._lines.clear()

    async def close(self) -> None:
        """Store what is not stored yet."""
        if self._timer is not None:
            self._timer.cancel()
            self._store()

    def _store(self) -> None:
        self._timer = None
        lines = [line.to_row() for line in self.behind(self._stored)]
        self._stored = self.last_id
        append = partial(runner.append_lines, lines=lines, keep=self._keep)
        self._writer.post(append, _nothing, _dropped, rows=len(lines), urgent=False)

    def _wake(self) -> None:
        self._waking = False
        for reader in self._readers:
            reader.wake()


class RunnerLogReader:
    """A cursor over the log, used as `channels.Reader` is. Close it when done."""

    ended = False
    """The log has no end."""

    def __init__(self, log: RunnerLog, viewer: str | None, after: int) -> None:
        self._log = log
        self._viewer = viewer
        self._waiter: asyncio.Future[None] | None = None
        self._nudged = False
        self.cursor = after
        """Id of the last line that was looked at."""

    @property
    def ready(self) -> bool:
        """Whether `next` will return lines without waiting for new ones."""
        return any(line.visible(self._viewer) for line in self._log.behind(self.cursor))

    async def next(self) -> bytes | None:
        """The frames that follow; empty when `nudge` ended the wait."""
        while True:
            lines = self._log.behind(self.cursor)
            if lines:
                self.cursor = lines[-1].id
                frames = b"".join(self._frames(lines))
                if frames:
                    return frames
            if self._nudged:
                self._nudged = False
                return b""
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def wake(self) -> None:
        """There are new lines."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def nudge(self) -> None:
        """End the wait of `next`."""
        self._nudged = True
        self.wake()

    def follow(self, push: Callable[[bytes], bool]) -> None:
        """Lines are few: each ends the wait of `next`."""

    def close(self) -> None:
        """Follow no more."""
        self._log.leave(self)

    def _frames(self, lines: Iterable[Line]) -> Iterator[bytes]:
        for line in lines:
            if line.visible(self._viewer):
                data = to_json(line.to_dict(self._viewer))
                yield f"id: {line.id}\ndata: {data}\n\n".encode()


def as_wire(lines: Sequence[Line], viewer: str | None) -> list[dict[str, Any]]:
    """Lines under the names of the wire."""
    return [line.to_dict(viewer) for line in lines]


def _from_row(row: Row) -> Line:
    id, at_ms, thread, type, words, task_id, title, owner = row
    task = None if task_id is None else TaskName(task_id, title or "", owner or "")
    return Line(id, at_ms, thread, type, words, (), task)


def _nothing(answer: None) -> None:
    """Stored."""


def _dropped(error: BaseException) -> None:
    logger.warning("lines of the worker's log were not stored: %s", error)
