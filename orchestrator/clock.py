"""Time and chance, each from one place, so that a simulation can own both.

Durations, deadlines and delays are measured with the event loop's clock: whoever brings a loop
with a clock of its own moves everything at once. Wall time is only for what people read.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import time
from collections.abc import Callable

ALIKE = 64  # ids in a row that begin alike; 90 random bits of each tell them apart


class PooledEntropy(random.SystemRandom):
    """The operating system's randomness, fetched 4 KiB at a time: each fetch is a system call."""

    def __init__(self) -> None:
        self._pool = io.BytesIO()
        super().__init__()

    def getrandbits(self, k: int, /) -> int:
        """`k` random bits."""
        size = (k + 7) // 8
        taken = self._pool.read(size)
        if len(taken) < size:
            self._pool = io.BytesIO(os.urandom(max(size, 4096)))
            taken = self._pool.read(size)
        return int.from_bytes(taken, "big") >> (size * 8 - k)


class Clock:
    """The clock and the random source of one process.

    Args:
        entropy: Source of ids and jitter. The default is the operating system's.
    """

    def __init__(self, entropy: random.Random | None = None) -> None:
        self.entropy = entropy or PooledEntropy()
        self._beginning, self._left = "", 0
        self.monotonic: Callable[[], float] = _running_loops_time
        """Seconds on the loop's clock, for durations; never jumps back.

        A clock of another kind sets it too: it is asked so often that a method around it shows.
        """

    def bind(self) -> None:
        """Measure with the loop that runs now, whichever runs later.

        A process that lives on one loop need not ask each time which one it is: that is a system
        call.
        """
        self.monotonic = asyncio.get_running_loop().time

    def wall_ms(self) -> int:
        """Milliseconds since 1970 UTC, for timestamps; may jump."""
        return time.time_ns() // 1_000_000

    def task_id(self) -> str:
        """A new UUID v4.

        Some in a row have their first 32 random bits in common: so new ones lie together in an
        index, and a commit of many tasks writes a few of its pages instead of one for each.
        """
        if not self._left:
            self._beginning, self._left = f"{self.entropy.getrandbits(32):08x}", ALIKE
        self._left -= 1
        rest = f"{self.entropy.getrandbits(92):023x}"
        # Version 4 and variant, as RFC 9562 puts them; building a uuid.UUID takes five times this.
        variant = _VARIANTS[rest[7]]
        return f"{self._beginning}-{rest[:4]}-4{rest[4:7]}-{variant}{rest[8:11]}-{rest[11:]}"


_VARIANTS = dict(zip("0123456789abcdef", "89ab" * 4, strict=True))  # two of the four bits are fixed


def _running_loops_time() -> float:
    return asyncio.get_running_loop().time()


_MILLISECONDS = tuple(f".{ms:03d}Z" for ms in range(1000))  # formatting one takes twice as long


class Timestamps:
    """Formats wall times as ISO 8601 UTC with milliseconds; remembers the last second."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        # One tuple, replaced whole: threads may share this object.
        self._known = (0, "1970-01-01T00:00:00")

    def text(self, ms: int) -> str:
        """``1700000000123`` becomes ``2023-11-14T22:13:20.123Z``."""
        second_ms, text = self._known
        rest = ms - second_ms
        if not 0 <= rest < 1000:
            rest = ms % 1000
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000))
            self._known = (ms - rest, text)
        return text + _MILLISECONDS[rest]


def iso(ms: int) -> str:
    """Format milliseconds since 1970 as ISO 8601 UTC, e.g. ``2023-11-14T22:13:20.123Z``."""
    return Timestamps().text(ms)
