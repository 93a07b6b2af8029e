"""Leaving a process in which agents run that do not stop.

An event loop that is closed waits for all its tasks; an agent that swallows its cancel would keep
the process from ever ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
from typing import NoReturn

logger = logging.getLogger(__name__)

GRACE_SECONDS = 0.5  # the agents among them had theirs already


async def end_or_leave(status: int) -> None:
    """End all other tasks of the running loop; leave at once if some do not end.

    The last thing to be called in a loop: everything else is closed by now.

    Args:
        status: Exit status of the process if it has to leave.
    """
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    if others:
        _, stuck = await asyncio.wait(others, timeout=GRACE_SECONDS)
        if stuck:
            names = ", ".join(sorted(task.get_name() for task in stuck))
            logger.warning("leaving although some tasks do not end: %s", names)
            leave(status)


def leave(status: int) -> NoReturn:
    """End the process without waiting for anything."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)
