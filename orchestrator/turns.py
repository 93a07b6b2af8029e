"""Turns of the loop: what is to be done a few of them from now, by one callback for all.

A callback of the loop costs about as much as storing an event; many runs that begin at once wait
for the same turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Turns:
    """Calls what waits for a turn of the loop it was made on."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        """Whose turns they are."""
        self._next = 0  # number of the turn that comes
        self._due: dict[int, list[Callable[[], None]]] = {}  # by the number of their turn
        self._turning = False

    def after(self, turns: int, call: Callable[[], None]) -> None:
        """Call something when so many whole turns, or one more, are over.

        It must not raise: what is to be called behind it in that turn would be lost.
        """
        self._due.setdefault(self._next + turns, []).append(call)
        if not self._turning:
            self._turning = True
            self.loop.call_soon(self._turn)

    def _turn(self) -> None:
        calls = self._due.pop(self._next, ())
        self._next += 1
        try:
            for call in calls:
                call()
        finally:
            self._turning = bool(self._due)
            if self._turning:
                self.loop.call_soon(self._turn)
