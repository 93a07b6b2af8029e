"""Where a task runs: in this process on a database that is gone at exit, or on a server."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, BinaryIO, Protocol

from api.bodies import parse_task_request
from api.client import Client, TaskStream
from api.sse_reader import SseReader
from api.task_stream import StreamedEvent, task_path
from orchestrator.agents import AgentRegistry
from orchestrator.errors import StorageError, TaskConflict
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService, open_service
from orchestrator.settings import RuntimeSettings

OWNER = "local"


class Source(Protocol):
    """A task under way."""

    def events(self) -> AsyncIterator[StreamedEvent]:
        """Its events until it has ended."""

    async def save(self, role: str, name: str, file: BinaryIO) -> None:
        """Write an artifact to a file."""


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


@contextlib.asynccontextmanager
async def run_here(body: Mapping[str, Any], registry: AgentRegistry) -> AsyncIterator[LocalSource]:
    """Start a task in this process; the data folder is not touched.

    Raises:
        InvalidRequest: It can never be executed as it is.
    """
    request = parse_task_request(dict(body))
    source: LocalSource | None = None

    def failed(error: StorageError) -> None:
        if source is not None:
            source.fail(error)

    settings = RuntimeSettings(database_url="sqlite://")
    async with open_service(settings, registry, on_fatal=failed) as service:
        submission = await service.submit(request, owner=OWNER, attach=True)
        assert submission.reader is not None
        source = LocalSource(service, submission.task_id, submission.reader)
        try:
            yield source
        finally:
            submission.reader.close()


class ServerSource:
    """A task on a server, which goes on when we leave."""

    def __init__(self, client: Client, stream: TaskStream) -> None:
        self._client = client
        self._stream = stream

    def events(self) -> AsyncIterator[StreamedEvent]:
        """Its events until it has ended; raises `ClientError`."""
        return self._stream

    async def save(self, role: str, name: str, file: BinaryIO) -> None:
        """Write an artifact to a file; raises `ClientError`."""
        await self._client.download(self._stream.task_id, role, name, file)

    def how_to_return(self) -> str:
        """What to type to see the rest, or to stop it."""
        if not self._stream.task_id:
            return "The server had not answered yet; it may have started the task all the same."
        path = f"{self._client.server}{task_path(self._stream.task_id)}"
        curl = 'curl -H "Authorization: Bearer $POSTSTREAM_TOKEN"'
        cursor = f"-H 'Last-Event-ID: {self._stream.last_event_id}' "
        return (
            f"The task goes on. To see the rest:\n\n{curl} -N {cursor}{path}/stream\n\n"
            f"To cancel it:\n\n{curl} -X POST {path}/cancel\n"
        )
