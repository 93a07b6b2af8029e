"""The server process: uvicorn with our protocol, our signals and our drain.

SIGTERM or SIGINT: no new tasks, readiness off; streams and running tasks go on until they end or
`DRAIN_SECONDS` are over; then tasks are handed back to the queue, streams end with a `retry` line,
and only then uvicorn stops listening. A second signal leaves at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.applications import Starlette

from api.app import drain, running
from api.components import Components
from api.connections import TimedHttpToolsProtocol
from api.leaving import end_or_leave, leave
from api.settings import Settings
from orchestrator.errors import StorageError

logger = logging.getLogger(__name__)

BACKLOG = 2048
CLOSE_SECONDS = 5  # for answers under way once streams have ended


class _Failed(Exception):
    """Raised inside the application's lifespan when nothing can be stored any more."""


class Server(uvicorn.Server):
    """Serves one application on one socket until it is told to stop.

    Args:
        app: Made by `create_app`.
        settings: Its settings.
        on_started: Called once requests are answered.
    """

    def __init__(
        self,
        app: Starlette,
        settings: Settings,
        *,
        on_started: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                loop="auto",
                http=TimedHttpToolsProtocol,
                ws="none",
                lifespan="off",  # `run_server` enters it, and so learns why it failed
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,  # anybody can send X-Forwarded-*; nothing here depends on it
                backlog=BACKLOG,
                timeout_keep_alive=75,
                timeout_graceful_shutdown=CLOSE_SECONDS,
            )
        )
        self._app = app
        self._settings = settings
        self._on_started = on_started
        self._draining: asyncio.Task[None] | None = None
        self.failed = False
        """Whether it stopped because nothing could be stored any more."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on the first signal, leave on the second; uvicorn's own way would end as killed."""
        loop = asyncio.get_running_loop()
        signals = (signal.SIGTERM, signal.SIGINT)
        for number in signals:
            loop.add_signal_handler(number, self.stop)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and tell a second process where this one is."""
        await super().startup(sockets=sockets)
        _tune_collector()
        if not self.should_exit:
            self._parts.service.database.announce(self._settings.url)
            self._on_started()

    async def run_app(self, listener: socket.socket) -> None:
        """Open the application, serve, and close it again."""
        with contextlib.suppress(_Failed):
            async with running(self._app):
                await self.serve(sockets=[listener])
                if self.failed:  # raised, so that nothing is drained into a broken database
                    raise _Failed
        await end_or_leave(self.status)

    def stop(self) -> None:
        """Drain; the second call leaves at once."""
        if self._draining is not None:
            logger.warning("second signal: leaving at once")
            leave(1)
        self._draining = asyncio.get_running_loop().create_task(self._drain())

    def fail(self, error: StorageError) -> None:
        """Nothing can be stored any more: leave with status 1; the next start recovers."""
        logger.critical("the database failed, the server stops: %s", error)
        self.failed = True
        self.should_exit = True
        self.force_exit = True

    async def _drain(self) -> None:
        seconds = self._settings.drain_seconds
        logger.info("stopping: running tasks get %g s", seconds)
        await drain(self._app, seconds)
        self.should_exit = True

    @property
    def status(self) -> int:
        """The exit status, once it has stopped."""
        return 0 if self.started and not self.failed else 1

    @property
    def _parts(self) -> Components:
        components: Components = self._app.state.components
        return components


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        OSError: The address cannot be used, e.g. because somebody else listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.ExitStack() as if_it_fails:
        listener = if_it_fails.enter_context(socket.socket(family, socket.SOCK_STREAM))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        # At once: until one of them listens, two processes can be bound to the same port.
        listener.listen(BACKLOG)
        if_it_fails.pop_all()
    return listener


def run_server(server: Server, listener: socket.socket) -> int:
    """Serve until stopped.

    Returns:
        The exit status: 0 after a clean stop, 1 when the server could not start or go on.

    Raises:
        StorageError: The database cannot be used, e.g. because another process holds it.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(server.run_app(listener))
    return server.status


def _tune_collector() -> None:
    """Look for cycles among new objects less often, and never among what lives as long as we do.

    A task allocates hundreds of objects that die without the collector; with Python's defaults it
    took a third of the loop's time (see DECISIONS).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return None
    return uvloop.new_event_loop
