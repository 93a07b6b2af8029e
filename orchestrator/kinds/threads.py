"""Daemon threads for code that blocks.

Not an executor: the interpreter waits for the threads of executors at exit, so one agent that
hangs would keep the server from ever ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class DaemonThreads:
    """At most `limit` threads at once, each for one call. All methods belong to one event loop.

    Args:
        limit: Threads at once: each takes memory, and all share one interpreter.
    """

    def __init__(self, limit: int) -> None:
        self._free = asyncio.Semaphore(limit)
        self.running = 0
        """Threads that run now, those nobody waits for any more included."""

    @property
    def full(self) -> bool:
        """Whether the next call has to wait."""
        return self._free.locked()

    async def start(self, function: Callable[[], T], *, name: str) -> asyncio.Future[T]:
        """Call a function in a thread as soon as one is free.

        Cancelling this wait starts nothing.

        Args:
            function: What to call; it runs with a copy of the caller's context variables.
            name: Name of the thread.

        Returns:
            Ends when the thread does, with what the function returned or raised.
        """
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        call: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def work() -> None:
            result, error = None, None
            try:
                result = context.run(function)
            except BaseException as raised:  # whatever it is, it belongs to the one who waits
                error = raised
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(self._end, call, result, error)

        thread = threading.Thread(target=work, name=name, daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no more threads
            self._free.release()
            raise
        self.running += 1
        return call

    def _end(self, call: asyncio.Future[T], result: Any, error: BaseException | None) -> None:
        self.running -= 1
        self._free.release()
        if call.done():
            return
        if error is None:
            call.set_result(result)
        elif isinstance(error, Exception) and not isinstance(error, StopIteration):
            call.set_exception(error)
        else:
            # A future cannot hold StopIteration, and SystemExit would end the loop.
            wrapped = RuntimeError(f"the thread ended with {type(error).__name__}")
            wrapped.__cause__ = error
            call.set_exception(wrapped)
