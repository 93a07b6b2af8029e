"""Agents for tests, and runs of them: with a callback, or in a real runtime on a real database."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.events import Event
from orchestrator.orchestrator import Orchestrator, TaskResult
from orchestrator.runtime.assembly import open_service
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from orchestrator.runtime.submitting import Submission
from orchestrator.settings import RuntimeSettings
from orchestrator.tasks import TaskRequest
from tests.grammar import check_log, parse_frames, split_frames

Work = Callable[[AgentContext], Awaitable[AgentResult | None]]
OWNER = "someone"
TURNING = ("task_complete", "task_error", "task_state")


@dataclass
class WorkAgent:
    """An agent that is one function."""

    role: str
    work: Work
    name: str = "An agent"
    description: str = "Works for a test."

    async def run(self, context: AgentContext) -> AgentResult | None:
        return await self.work(context)


def team(options: Mapping[str, AgentOptions] | None = None, /, **works: Work) -> AgentRegistry:
    """A registry of agents, by role; underscores in a name become hyphens."""
    registry = AgentRegistry()
    for name, work in works.items():
        role = name.replace("_", "-")
        given = (options or {}).get(role, AgentOptions())
        registry.register(WorkAgent(role, work), options=given)
    return registry


def request(*roles: str, **fields: Any) -> TaskRequest:
    """A request for these agents."""
    return TaskRequest.model_validate(
        {"description": "Do it", "selectedAgents": list(roles), **fields}
    )


async def speak(context: AgentContext) -> None:
    """Writes its role and attempt."""
    await context.write(f"{context.role} {context.attempt}")


async def hang(context: AgentContext) -> None:
    """Never ends by itself."""
    await context.progress("hanging")
    await asyncio.get_running_loop().create_future()


async def fail(context: AgentContext) -> None:
    """Raises what is no error of an agent."""
    raise ValueError("a secret detail")


def swallow(release: asyncio.Event) -> Work:
    """An agent that ignores every cancel until it is released."""

    async def work(context: AgentContext) -> None:
        await context.progress("ignoring")
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    return work


@dataclass
class Told:
    """A result and every event of its run."""

    result: TaskResult
    events: list[Event]

    @property
    def types(self) -> list[str]:
        return [event.type for event in self.events]

    @property
    def logged(self) -> list[dict[str, Any]]:
        """The events as a log would have them."""
        return [
            {**event.model_dump(by_alias=True, exclude_none=True), "seq": seq}
            for seq, event in enumerate(self.events, start=1)
        ]


async def execute(registry: AgentRegistry, task: TaskRequest, **options: Any) -> Told:
    """Run a task without a database; the events must obey the grammar."""
    events: list[Event] = []
    result = await Orchestrator(registry, **options).execute_task(task, events.append)
    told = Told(result, events)
    check_log(told.logged)
    return told


def settings(**values: Any) -> RuntimeSettings:
    """Settings for a runtime that does not wait long for anything."""
    defaults = {"database_url": "sqlite://", "cancel_grace_seconds": 0.2, "drain_seconds": 0}
    return RuntimeSettings(**{**defaults, **values})


def at_file(path: Path, **values: Any) -> RuntimeSettings:
    """Settings for a runtime on a file that outlives it."""
    return settings(database_url=f"sqlite:///{path}", **values)


@asynccontextmanager
async def service(
    registry: AgentRegistry, given: RuntimeSettings | None = None, **options: Any
) -> AsyncIterator[TaskService]:
    """A whole runtime."""
    async with open_service(given or settings(), registry, **options) as opened:
        yield opened


async def submit(
    opened: TaskService, *roles: str, owner: str = OWNER, key: str | None = None, **fields: Any
) -> Submission:
    """Submit a task and attach to it."""
    return await opened.submit(
        request(*roles, **fields), owner=owner, attach=True, idempotency_key=key, body_hash="hash"
    )


async def read_to_end(reader: Reader | None) -> list[bytes]:
    """Every frame that follows, until the task ended; the reader is closed."""
    assert reader is not None
    data = b""
    try:
        while (piece := await asyncio.wait_for(reader.next(), 20)) is not None:
            data += piece
            if reader.ended:
                break
    finally:
        reader.close()
    return split_frames(data)


async def run_task(opened: TaskService, *roles: str, **fields: Any) -> list[dict[str, Any]]:
    """Submit a task, follow it to its end, and return its log, which obeys the grammar."""
    submission = await submit(opened, *roles, **fields)
    events = parse_frames(await read_to_end(submission.reader))
    check_log(events)
    return events


async def log_of(opened: TaskService, task_id: str, *, ended: bool = True) -> list[dict[str, Any]]:
    """The stored log of a task, which obeys the grammar."""
    stored, task = await opened.events(task_id, owner=None, after=0, limit=1_000_000)
    events = [orjson.loads(event.data) for event in stored]
    check_log(events, ended=ended)
    turns = [e["seq"] for e in events[: task.last_seq] if e["type"] in TURNING]
    assert task.turned == max(turns, default=0), "the row says where the log turned"
    return events


async def uncounted(opened: TaskService, task_id: str) -> int:
    """How many bytes of its log the row of a task does not tell."""
    query = (
        "SELECT sum(length(data)) - log_bytes FROM task JOIN event ON event.task = task.id"
        " WHERE task_id = ?"
    )
    answer: int = await opened.database.read_rows(
        lambda connection: connection.execute(query, (task_id,)).fetchone()[0]
    )
    return answer


async def status_of(opened: TaskService, task_id: str) -> str:
    """The stored status of a task."""
    return (await opened.find(task_id, owner=None)).status


def types(events: list[dict[str, Any]]) -> list[str]:
    """The types of a log in order."""
    return [event["type"] for event in events]


async def eventually(
    condition: Callable[[], object] | Callable[[], Awaitable[object]], *, seconds: float = 10
) -> None:
    """Wait until something is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = condition()
        if await answer if isinstance(answer, Awaitable) else answer:
            return
        assert time.monotonic() < deadline, "it did not become so in time"
        await asyncio.sleep(0.005)
