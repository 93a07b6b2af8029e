"""Ctrl-C: the first one is a request, the second one an order."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

from api.cli.terminal import Status
from api.leaving import leave

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def on_interrupt(first: Callable[[], None], *, leaving: Callable[[], None]) -> Iterator[None]:
    """Handle Ctrl-C and SIGTERM in the running loop.

    Args:
        first: Called for the first one.
        leaving: Called before the process ends at the second one; puts the terminal in order.
    """
    loop = asyncio.get_running_loop()
    seen = False

    def handle() -> None:
        nonlocal seen
        if seen:
            leaving()
            leave(Status.INTERRUPTED)  # whatever still runs does not want to stop
        seen = True
        first()

    for number in _SIGNALS:
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
