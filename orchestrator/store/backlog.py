"""The backlog: operations that wait for the writer, and when it takes how many of them.

The loop puts them in, the writer's thread takes them out. A commit costs several times what
storing an event does, so it pays to let operations wait for company: as long as the loop brings
more of them, and never one alone that somebody waits for.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, TypeVar

from orchestrator.errors import PoststreamError
from orchestrator.store.database import Connection
from orchestrator.turns import Turns

T = TypeVar("T")
Operation = Callable[[Connection], T | PoststreamError]

_Sleep = Literal["awake", "idle", "pacing", "gathering"]
"""What the thread waits for: nothing, anything, something urgent, or that nothing more comes."""

BATCH_ROWS = 400  # more rows in one transaction make the slowest commit slower, not all faster
PACE_SECONDS = 0.0016  # between commits that nobody waits for; bounds what batching may delay
NEXT_SECONDS = 0.001  # longer at most, until the next one comes: what comes together goes together
GATHER_SECONDS = 0.004  # between commits of many, at most: fewer and larger ones cost less in all
MANY = 4  # operations in one transaction; a caller alone is never held up
QUIET_TURNS = 6  # of the loop without anything urgent; what is committed takes five to bring more


class Item:
    """An operation, and what became of it; see `Writer.post`."""

    __slots__ = (
        "answer", "error", "on_commit", "on_failure", "operation", "rows", "size", "urgent",
        "waits",
    )  # fmt: skip

    def __init__(
        self,
        operation: Operation[Any],
        on_commit: Callable[[Any], None],
        on_failure: Callable[[BaseException], None],
        rows: int,
        size: int,
        waits: bool,
        urgent: bool,
    ) -> None:
        self.operation = operation
        self.on_commit = on_commit
        self.on_failure = on_failure
        self.rows = rows
        self.size = size
        self.waits = waits
        self.urgent = urgent
        self.answer: Any = None
        self.error: BaseException | None = None


class Backlog:
    """What waits for the writer, in order.

    Args:
        turns: Of the loop, by which it is seen whether that still brings something.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self._items: deque[Item] = deque()
        # Released to wake the thread, and only when it sleeps: a wake-up costs more than an event.
        self._bell = threading.Lock()
        self._bell.acquire()
        self._sleep: _Sleep = "awake"
        self._is_urgent = False  # something that waits, or was just taken, is
        self._brings_more = False  # the loop is not quiet yet
        self._has_news = False  # something urgent came since that was looked at
        self._committed_at = 0.0
        self._committed = 0  # how many operations were
        self._overflows = False  # more waited than one transaction takes
        self.closed = False
        """Whether nothing more comes."""

    @property
    def is_over(self) -> bool:
        """Whether nothing waits and nothing more comes."""
        return self.closed and not self._items

    def put(self, item: Item) -> None:
        """Let an operation wait."""
        self._items.append(item)
        if item.urgent:
            self._is_urgent = self._has_news = True
            if not self._brings_more:
                self._brings_more = True
                self._turns.after(QUIET_TURNS, self._look)
        sleep = self._sleep
        if sleep == "idle" or (sleep == "pacing" and (item.urgent or self._has_rested())):
            self._ring()

    def close(self) -> None:
        """Nothing more comes."""
        self.closed = True
        self._ring()

    def _look(self) -> None:
        """See whether the loop has become quiet: then there is no company to wait for."""
        self._brings_more, self._has_news = self._has_news, False
        if self._brings_more:
            self._turns.after(QUIET_TURNS, self._look)
        elif self._sleep == "gathering":
            self._ring()

    def _has_rested(self) -> bool:
        return time.monotonic() >= self._committed_at + PACE_SECONDS

    def _ring(self) -> None:
        self._sleep = "awake"
        if self._bell.locked():  # else it has rung already, and was not heard yet
            self._bell.release()

    # -- from here on in the writer's thread --------------------------------------------------

    def take(self, *, timeout: float) -> list[Item]:
        """All that waits, up to a batch; nothing when nothing came in time.

        What nobody waits for may wait until the last commit is a moment ago: under a steady
        trickle each event would cost a whole commit of its own. It goes with the next one that
        comes then, for events come in groups, and those of one group are delayed least when they
        are taken at once. When much comes at once, all waits until the loop has brought the rest
        of it, but not for long.

        Args:
            timeout: Seconds to wait for the first one.
        """
        if not self._is_urgent:  # also while nothing waits: what comes need not wake the thread
            rest = PACE_SECONDS + NEXT_SECONDS
            self._doze("pacing", self._committed_at + rest - time.monotonic())
        if not self._items:
            self._doze("idle", timeout)
        if self._items and self._committed >= MANY and not self._overflows:
            self._doze("gathering", self._committed_at + GATHER_SECONDS - time.monotonic())
        self._is_urgent = False
        batch: list[Item] = []
        rows = 0
        while self._items and rows < BATCH_ROWS:
            batch.append(self._items.popleft())
            rows += batch[-1].rows
        self._overflows = bool(self._items)
        if self._overflows:
            self._is_urgent = True
        return batch

    def committed(self, count: int) -> None:
        """A transaction with so many operations was committed just now."""
        self._committed = count
        self._committed_at = time.monotonic()

    def _doze(self, sleep: _Sleep, seconds: float) -> None:
        """Sleep until the bell rings, but no longer than that."""
        if seconds <= 0:
            return
        self._sleep = sleep
        # What came before the line above rang no bell.
        if not self._has_come(sleep) and not self.closed:
            self._bell.acquire(timeout=seconds)
        self._sleep = "awake"

    def _has_come(self, sleep: _Sleep) -> bool:
        """Whether what the thread would wait for has come."""
        match sleep:
            case "idle":
                return bool(self._items)
            case "pacing":
                return self._is_urgent
            case _:  # gathering
                return not self._brings_more
