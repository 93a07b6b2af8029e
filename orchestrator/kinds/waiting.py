"""Waiting for what must come to its end: a process group, a thread, a cleanup."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


async def finished(
    work: asyncio.Future[T],
    *,
    on_cancel: Callable[[], None] | None = None,
    is_forsaken: Callable[[], bool] = lambda: False,
) -> T:
    """Wait until `work` has ended, however often the waiting task is cancelled meanwhile.

    Args:
        work: A future or task. It is never cancelled from here.
        on_cancel: Called at each cancel, e.g. to ask the work to end.
        is_forsaken: Asked at each cancel; True when nobody waits for the work any more, so that
            a process can end although it has not.

    Raises:
        asyncio.CancelledError: `work` has ended and a cancel came meanwhile; its result is lost.
    """
    cancel: asyncio.CancelledError | None = None
    while not work.done():
        try:
            await asyncio.wait([work])
        except asyncio.CancelledError as error:
            cancel = error
            if on_cancel is not None:
                on_cancel()
            if is_forsaken():
                raise
    if cancel is None:
        return work.result()
    if not work.cancelled():
        work.exception()  # looked at, so that asyncio does not report it as forgotten
    raise cancel
