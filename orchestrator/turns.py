"""Turns of the loop: what is to be done a few of them from now, by one callback for all.

A callback of the loop costs about as much as storing an event; many runs that begin at once wait
for the same turn.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable


class Turns:
    """Calls what waits for a turn of the loop it was made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        """Whose turns they are."""
        self._due: deque[list[Callable[[], None]]] = deque()  # the first is called next
        self._turning = False

    def after(self, turns: int, call: Callable[[], None]) -> None:
        """Call something when so many whole turns, or one more, are over.

        It must not raise: what is to be called behind it in that turn would be lost.
        """
        while len(self._due) <= turns:
            self._due.append([])
        self._due[turns].append(call)
        if not self._turning:
            self._turning = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        try:
            for call in self._due.popleft():
                call()
        finally:
            self._turning = bool(self._due)
            if self._turning:
                self.loop.call_soon(self._turn)
