"""The watchdog: says which agent it was when the event loop stood still.

Agents and streams share one loop. A Python agent that computes for a minute stops every stream,
every keep-alive and every cancel; it belongs into a `BackgroundTask` or a command. Nobody can take
the loop back from it, but its name can be told.
"""

from __future__ import annotations

import asyncio
import logging
import threading

logger = logging.getLogger(__name__)

STOOD_SECONDS = 1.0  # shorter halts happen to the best
LOOK_SECONDS = 0.25


class Watchdog:
    """Watches the running loop from a thread of its own until it is closed.

    Args:
        stood_seconds: How long the loop may stand before it is told.
    """

    def __init__(self, *, stood_seconds: float = STOOD_SECONDS) -> None:
        self._stood_seconds = stood_seconds
        self._loop = asyncio.get_running_loop()
        self._beaten = threading.Event()
        self._closed = threading.Event()
        self.times_stood = 0
        """How often the loop stood that long."""
        self._thread = threading.Thread(target=self._run, name="poststream-watchdog", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed.set()

    def _run(self) -> None:
        while not self._closed.wait(LOOK_SECONDS):
            self._beaten.clear()
            try:
                self._loop.call_soon_threadsafe(self._beaten.set)
            except RuntimeError:  # the loop is closed
                return
            if not self._beaten.wait(self._stood_seconds):
                self._tell()
                while not self._beaten.wait(LOOK_SECONDS) and not self._closed.is_set():
                    pass

    def _tell(self) -> None:
        task = asyncio.current_task(self._loop)
        name = "unknown" if task is None else task.get_name()
        logger.warning(
            "the event loop has stood for more than %g s in: %s",
            self._stood_seconds, name, extra={"agent": name},
        )  # fmt: skip
        self.times_stood += 1
