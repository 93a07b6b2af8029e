"""One attempt without an orchestrator, and waiting without sleeping."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.agents import Agent, AgentContext, AgentOutput, AgentResult, TaskInfo
from orchestrator.clock import Clock
from orchestrator.events import AgentProgress, Event
from orchestrator.progress import CallbackRecorder, Limits, Reporter

TASK_ID = "00000000-0000-4000-8000-000000000000"


class Recording(CallbackRecorder):
    """Keeps the events, and the process groups it was to store.

    Clear `room` and it takes no more events, like a buffer that is full; set `refusal` and it
    stores no group, like a log that belongs to another run.
    """

    def __init__(self) -> None:
        super().__init__(TASK_ID, self._take)
        self.events: list[Event] = []
        self.groups: list[tuple[int, int]] = []
        self.room = asyncio.Event()
        self.room.set()
        self.waiting = 0
        self.refusal: Exception | None = None

    async def _take(self, event: Event) -> None:
        self.waiting += 1
        await self.room.wait()
        self.waiting -= 1
        self.events.append(event)

    async def store_process_group(self, role: str, attempt: int, group: int, started: int) -> None:
        self.groups.append((group, started))
        if self.refusal is not None:
            raise self.refusal


class Trial:
    """One attempt of an agent: its context, and everything it reported."""

    def __init__(
        self,
        agent: Agent,
        inputs: Mapping[str, Any] | None = None,
        *,
        outputs: Mapping[str, AgentOutput] | None = None,
        description: str = "the task",
        limits: Limits | None = None,
    ) -> None:
        self.agent = agent
        self.recorder = Recording()
        self.events = self.recorder.events
        self.reporter = Reporter(
            agent.role, 1, recorder=self.recorder, limits=limits or Limits(), clock=Clock()
        )
        self.context = AgentContext(
            task=TaskInfo(task_id=TASK_ID, title="A title", description=description),
            role=agent.role,
            attempt=1,
            inputs=inputs or {},
            outputs=outputs or {},
            restored=None,
            reporter=self.reporter,
        )

    async def run(self) -> AgentResult | None:
        """Run it to its end."""
        return await self.agent.run(self.context)

    def start(self) -> asyncio.Task[AgentResult | None]:
        """Run it in a task."""
        return asyncio.create_task(self.run())

    @property
    def progress(self) -> list[AgentProgress]:
        """What it reported."""
        return [event for event in self.events if isinstance(event, AgentProgress)]

    @property
    def messages(self) -> list[str]:
        """Its status lines."""
        return [event.message for event in self.progress if event.message is not None]

    @property
    def text(self) -> str:
        """Its output text."""
        return self.reporter.text


def names_in(folder: Path) -> list[str]:
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


async def eventually(condition: Callable[[], object], *, seconds: float = 10) -> None:
    """Wait until something is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become so in time"
        await asyncio.sleep(0.01)
