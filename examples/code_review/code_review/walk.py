"""Honest progress over many items, without a report for each of 50,000 files."""

from __future__ import annotations

import time

from orchestrator.kinds.background import ProgressHandle

_SECONDS = 0.1  # ten reports a second are more than anybody can read


class Walk:
    """Counts items, reports how many are done and how many failed, and heeds a cancel.

    Args:
        handle: To report through.
        total: How many items there are.
        message: What is being done, in a line.
    """

    def __init__(self, handle: ProgressHandle, total: int, message: str) -> None:
        self._handle = handle
        self._total = total
        self._next = time.monotonic() + _SECONDS
        self.done = 0
        self.failed = 0
        handle.send_progress(done=0, total=total, message=message)

    def step(self, *, failed: bool = False) -> None:
        """Count one item.

        Raises:
            asyncio.CancelledError: The work should end.
        """
        self._handle.raise_if_cancelled()
        self.done += 1
        self.failed += failed
        if time.monotonic() >= self._next:
            self.report()

    def report(self) -> None:
        """Report now; the last call of a walk."""
        self._handle.send_progress(done=self.done, total=self._total, failed=self.failed or None)
        self._next = time.monotonic() + _SECONDS
