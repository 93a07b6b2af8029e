"""Deadlines: what is called once its time has come, however many, behind one timer of the loop.

Nearly all of them are given up: tasks that may take an hour end within milliseconds, thousands in
a second. A timer of the loop for each costs a task more than its own first step.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
from collections.abc import Callable

RESOLUTION_SECONDS = 0.001  # a loop that counts milliseconds calls its timers up to one early


class Deadlines:
    """The deadlines of one loop, on its clock.

    Args:
        loop: Where they are called.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        """Where they are called."""
        self._numbers = itertools.count()
        self._calls: dict[int, Callable[[], object]] = {}
        # When and number of each, earliest first; what was cancelled stays for a while.
        self._heap: list[tuple[float, int]] = []
        self._due = math.inf
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many there are."""
        return len(self._calls)

    def after(self, seconds: float, call: Callable[[], object]) -> int:
        """Call something so many seconds from now.

        Returns:
            A number to cancel it with.
        """
        number = next(self._numbers)
        when = self.loop.time() + seconds
        self._calls[number] = call
        heapq.heappush(self._heap, (when, number))
        if when < self._due:
            self._arm()
        return number

    def cancel(self, number: int) -> None:
        """Give a deadline up; nothing if it was called or cancelled before."""
        self._calls.pop(number, None)
        if len(self._heap) > 2 * len(self._calls):  # most are cancelled; so each costs little
            self._heap = [entry for entry in self._heap if entry[1] in self._calls]
            heapq.heapify(self._heap)
            self._arm()

    def _arm(self) -> None:
        """Set the timer to the earliest."""
        due = self._heap[0][0] if self._heap else math.inf
        if due == self._due:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._due = due
        self._timer = self.loop.call_at(due, self._call_due) if self._heap else None

    def _call_due(self) -> None:
        self._due, self._timer = math.inf, None
        now = self.loop.time() + RESOLUTION_SECONDS
        try:
            while self._heap and self._heap[0][0] <= now:
                _, number = heapq.heappop(self._heap)
                if (call := self._calls.pop(number, None)) is not None:
                    call()
        finally:  # whatever one of them raises, the others have their turn
            self._arm()
