"""`poststream run` in this process, on a database that is gone at exit."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from api.bodies import parse_task_request
from api.cli.board import Board
from api.cli.interrupts import on_interrupt
from api.cli.request import in_words_of_options
from api.cli.showing import make_view, show_events, show_report, status_of
from api.cli.sources import Source
from api.cli.terminal import NO_AGENTS, Status, usage_error
from api.leaving import end_or_leave
from api.logs import configure_logging
from api.sse_reader import SseReader
from api.task_stream import StreamedEvent
from api.team import load_registry
from orchestrator.agents import AgentRegistry
from orchestrator.errors import InvalidRequest, StorageError, TaskConflict
from orchestrator.runtime.assembly import open_service
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from orchestrator.settings import RuntimeSettings
from orchestrator.tasks import TaskRequest

OWNER = "local"


def watch_here(body: Mapping[str, Any], *, json: bool, folder: Path | None) -> Status:
    """Run a task in this process; the first Ctrl-C cancels it.

    Returns:
        How it ended, as an exit status.

    Raises:
        CommandFailed: The request makes no sense.
    """
    registry = load_registry(RuntimeSettings())
    _check_agents(body["selectedAgents"], registry)
    try:
        request = parse_task_request(dict(body))
    except InvalidRequest as error:
        raise usage_error("\n".join(map(in_words_of_options, error.errors))) from None
    return asyncio.run(_watch_here(request, registry, json=json, folder=folder))


async def _watch_here(
    request: TaskRequest, registry: AgentRegistry, *, json: bool, folder: Path | None
) -> Status:
    board = Board(asyncio.get_running_loop().time())
    view = make_view(board, json=json, hint="Ctrl-C cancels.")
    configure_logging(json=False)
    logging.getLogger().setLevel(logging.WARNING)
    with contextlib.closing(view):
        async with run_here(request, registry) as source:
            cancels: list[asyncio.Task[None]] = []

            def cancel() -> None:
                cancels.append(asyncio.create_task(source.cancel()))
                view.note("Cancelling … Ctrl-C again leaves at once.")

            with on_interrupt(cancel, leaving=view.close):
                await show_events(source, board, view)
                await asyncio.gather(*cancels)
                await show_report(source, board, view, json=json, folder=folder)
    status = status_of(board)
    await end_or_leave(status)
    return status


def _check_agents(roles: list[str], registry: AgentRegistry) -> None:
    """Say more about an agent that is not there than a server would.

    Raises:
        CommandFailed: One is not there, or cannot be used.
    """
    if not len(registry):
        raise usage_error(NO_AGENTS)
    for role in roles:
        if role not in registry:
            names = ", ".join(registration.agent.role for registration in registry)
            raise usage_error(f"--agents {role}: there is no such agent; there are {names}.")
        if (reason := registry[role].unavailable) is not None:
            raise usage_error(f"--agents {role}: unavailable: {reason}.")


class LocalSource:
    """A task in this process. Made by `run_here`."""

    def __init__(self, service: TaskService, task_id: str, reader: Reader) -> None:
        self._service = service
        self._task_id = task_id
        self._reader = reader
        self._broken: StorageError | None = None

    async def events(self) -> AsyncIterator[StreamedEvent]:
        """Its events until it has ended.

        Raises:
            StorageError: They cannot be stored any more.
        """
        frames = SseReader()
        while (data := await self._reader.next()) is not None:
            if self._broken is not None:
                raise self._broken
            for event, text, id in frames.feed(data):
                yield StreamedEvent(int(id or 0), event, text)

    async def save(self, role: str, name: str, file: BinaryIO) -> None:
        """Write an artifact to a file."""
        _, pieces = await self._service.artifact(self._task_id, role, name, owner=OWNER)
        async for piece in pieces:
            file.write(piece)

    async def cancel(self) -> None:
        """Stop its agents; harmless once it has ended."""
        with contextlib.suppress(TaskConflict):
            await self._service.cancel(self._task_id, owner=OWNER, requested_by=OWNER)

    def fail(self, error: StorageError) -> None:
        """Nothing can be stored any more."""
        self._broken = error
        self._reader.nudge()


_conforms: type[Source] = LocalSource


@contextlib.asynccontextmanager
async def run_here(request: TaskRequest, registry: AgentRegistry) -> AsyncIterator[LocalSource]:
    """Start a task in this process; the data folder is not touched."""
    source: LocalSource | None = None

    def failed(error: StorageError) -> None:
        if source is not None:
            source.fail(error)

    # Whatever is meant for a server: it runs at once, and is there until everything was shown.
    settings = RuntimeSettings(
        database_url="sqlite://", runner_autostart=True, task_history_retention_days=1
    )
    async with open_service(settings, registry, on_fatal=failed) as service:
        submission = await service.submit(request, owner=OWNER, attach=True)
        assert submission.reader is not None
        source = LocalSource(service, submission.task_id, submission.reader)
        try:
            yield source
        finally:
            submission.reader.close()
