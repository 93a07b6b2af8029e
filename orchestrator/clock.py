"""Time and chance, each from one place, so that a simulation can own both.

Durations, deadlines and delays are measured with the event loop's clock: whoever brings a loop
with a clock of its own moves everything at once. Wall time is only for what people read.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid


class Clock:
    """The clock and the random source of one process.

    Args:
        entropy: Source of ids and jitter. The default is the operating system's.
    """

    def __init__(self, entropy: random.Random | None = None) -> None:
        self.entropy = entropy or random.SystemRandom()

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC, for timestamps; may jump."""
        return int(time.time() * 1000)

    def monotonic(self) -> float:
        """Seconds on the running loop's clock, for durations; never jumps back."""
        return asyncio.get_running_loop().time()

    def task_id(self) -> str:
        """A new UUID v4."""
        return str(uuid.UUID(int=self.entropy.getrandbits(128), version=4))


class Timestamps:
    """Formats wall times as ISO 8601 UTC with milliseconds; remembers the last second."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # One tuple, replaced whole: threads may share this object.
        self._known = (-1, "")

    def __call__(self, ms: int) -> str:
        """``1700000000123`` becomes ``2023-11-14T22:13:20.123Z``."""
        second, rest = divmod(ms, 1000)
        known, prefix = self._known
        if second != known:
            prefix = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._known = (second, prefix)
        return f"{prefix}.{rest:03d}Z"


def iso(ms: int) -> str:
    """Format milliseconds since 1970 as ISO 8601 UTC, e.g. ``2023-11-14T22:13:20.123Z``."""
    return Timestamps()(ms)
