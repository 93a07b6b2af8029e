"""Who is measured: a server as a process, and how to ask it for events."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Protocol

import orjson

from tests.bench.connection import Load, request
from tests.bench.cpus import SERVER_CPU, pinned
from tests.server import ServerProcess

NAMES = ("poststream", "raw", "starlette")

_UNLIMITED = 1_000_000
_READ_TASKS = 10  # tasks that idle readers share
_TEXT_BYTES = 60
_FRAMES_AROUND = 5  # created, started, completed, completed, end: what a task sends by itself


class Peer(Protocol):
    """A server that runs."""

    name: str
    server: ServerProcess

    def task(self, events: int) -> bytes:
        """A request for so many events as fast as they come."""

    def paced(self, events: int, gap_seconds: float) -> bytes:
        """A request for one event after each gap, with stamps."""

    async def shared(self, events: int, gap_seconds: float) -> bytes:
        """A request that many can make at once for the same events."""

    async def finished(self, events: int) -> bytes:
        """A request for many events that are there already, 512 in a write."""

    async def idle(self, count: int) -> list[bytes]:
        """So many requests for streams on which nothing happens after the first event."""

    async def occupy(self, count: int) -> None:
        """Begin so many tasks that do nothing and that nobody reads."""


class Poststream:
    """The server of this project, as `poststream serve` runs it: stored, checked and logged."""

    name = "poststream"

    def __init__(self, folder: Path) -> None:
        self.server = _started(ServerProcess(folder))
        self._finished: dict[int, bytes] = {}
        self._headers = [("Authorization", f"Bearer {self.server.token(ttl_seconds=86_400)}")]

    def task(self, events: int) -> bytes:
        """A task with one agent."""
        return self._post(repeat=events - _FRAMES_AROUND)

    def paced(self, events: int, gap_seconds: float) -> bytes:
        """A task whose agent waits before each event."""
        return self._post(repeat=events, delay=gap_seconds)

    async def shared(self, events: int, gap_seconds: float) -> bytes:
        """A task that runs."""
        return self._stream(await self._submit(repeat=events, delay=gap_seconds))

    async def finished(self, events: int) -> bytes:
        """A task that has ended; the first call runs it."""
        if events not in self._finished:
            task_id = await self._submit(repeat=events - _FRAMES_AROUND)
            self._finished[events] = self._stream(task_id)
            load = Load(self.server.port)
            await load.once([self._finished[events]])
            await load.ended()
            load.close()
        return self._finished[events]

    async def idle(self, count: int) -> list[bytes]:
        """Readers of a few tasks."""
        streams = [self._stream(await self._submit(outcome="hang")) for _ in range(_READ_TASKS)]
        return [streams[number % _READ_TASKS] for number in range(count)]

    async def occupy(self, count: int) -> None:
        """Tasks whose agents hang."""
        for _ in range(count):
            await self._submit(outcome="hang")

    def _post(self, **part: Any) -> bytes:
        return request("POST", "/api/agents/execute/stream", _body(**part), self._headers)

    def _stream(self, task_id: str) -> bytes:
        return request("GET", f"/api/tasks/{task_id}/stream", headers=self._headers)

    async def _submit(self, **part: Any) -> str:
        load = Load(self.server.port)
        await load.once([request("POST", "/api/tasks", _body(**part), self._headers)])
        await load.ended()
        load.close()
        return str(orjson.loads(load.body)["taskId"])


class Floor:
    """A server that stores nothing; see `tests.bench.floor`."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        command = [sys.executable, "-m", "tests.bench.floor", name]
        self.server = _started(ServerProcess(folder, command=command))

    def task(self, events: int) -> bytes:
        """One event in a write."""
        return _floor_post(events)

    def paced(self, events: int, gap_seconds: float) -> bytes:
        """One event, then a gap."""
        return _floor_post(events, gap=gap_seconds)

    async def shared(self, events: int, gap_seconds: float) -> bytes:
        """The first one who asks starts them."""
        return request("GET", f"/?events={events}&gap={gap_seconds}")

    async def finished(self, events: int) -> bytes:
        """From memory."""
        return _floor_post(events, batch=512)

    async def idle(self, count: int) -> list[bytes]:
        """A stream of its own for each."""
        return [_floor_post(1, gap=-1)] * count

    async def occupy(self, count: int) -> None:
        """There are no tasks without a reader here."""


def start(name: str, folder: Path) -> Peer:
    """Start a server in a folder of its own."""
    folder.mkdir()
    return Poststream(folder) if name == "poststream" else Floor(folder, name)


def _started(server: ServerProcess) -> ServerProcess:
    with pinned(SERVER_CPU):
        server.start(
            environment="production",
            max_concurrent_tasks=_UNLIMITED,
            max_queued_tasks=_UNLIMITED,
            max_tasks_per_owner=_UNLIMITED,
            max_streams=_UNLIMITED,
            max_streams_per_owner=_UNLIMITED,
        )
    return server


def _body(**part: Any) -> bytes:
    part = {"agent": "scripted-1", "size": _TEXT_BYTES, "stamp": True, **part}
    return orjson.dumps(
        {"description": "bench", "selectedAgents": ["scripted-1"], "inputs": {"script": [part]}}
    )


def _floor_post(events: int, *, gap: float = 0, batch: int = 1) -> bytes:
    return request("POST", "/", orjson.dumps({"events": events, "gap": gap, "batch": batch}))
