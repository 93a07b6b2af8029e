"""A run under way, and what it is told."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.runs import TaskRun
from orchestrator.runtime.recorder import LogRecorder
from orchestrator.store.controls import Order
from orchestrator.store.events import RunKey

Telling = Order | Literal["stuck", "lost"]
"""``stuck``: it was silent for too long; ``lost``: somebody else has ended the task."""


@dataclass(slots=True)
class Run:
    """One run under way."""

    key: RunKey
    owner: str
    recorder: LogRecorder
    asyncio_task: asyncio.Task[None] | None = None
    """Held here, since the loop alone would not keep it."""
    task_run: TaskRun | None = None
    """None until it has read what earlier runs have left."""
    orders: list[Telling] = field(default_factory=list)
    """What it was told before `task_run` was there."""

    @property
    def heard_at(self) -> float:
        """When it was heard of last, on the monotonic clock."""
        return self.recorder.stored_at

    @property
    def agents(self) -> list[str]:
        """The agents that run."""
        return [] if self.task_run is None else self.task_run.agents

    def begin(self, task_run: TaskRun) -> TaskRun:
        """It has read what earlier runs have left."""
        self.task_run = task_run
        for order in self.orders:
            self.tell(order)
        return task_run

    def tell(self, order: Telling) -> None:
        """Pass it on, now or as soon as there is somebody to hear it."""
        if self.task_run is None:
            self.orders.append(order)
        elif order == "hold":
            self.task_run.hold()
        elif order == "interrupt":
            self.task_run.hold()
            self.task_run.stop("pause")
        elif order == "resume":
            self.task_run.go_on()
        else:
            self.task_run.stop(order)
