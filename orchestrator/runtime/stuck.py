"""Stuck tasks: those that run and say nothing.

Only running tasks can be stuck: one that is paused, queued or waits for an answer is silent for a
good reason. Silence is measured by the monotonic clock, and any event ends it.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Literal

from orchestrator.clock import Clock
from orchestrator.errors import StorageError
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.run import Run
from orchestrator.runtime.worker import Worker
from orchestrator.store import listing
from orchestrator.store.database import Database
from orchestrator.tasks import TaskStatus

logger = logging.getLogger(__name__)

MIN_LOOK_SECONDS = 0.02
MAX_LOOK_SECONDS = 10.0


class StuckWatch:
    """Looks for silent tasks, tells of each once, and ends it if that is wanted.

    Args:
        worker: Who runs tasks.
        database: For the status of those that are silent.
        narrator: Told of them.
        clock: For silence.
        after_seconds: How long a task must be silent.
        action: `mark` shows it, `fail` ends it too.
    """

    def __init__(
        self, worker: Worker, database: Database, narrator: Narrator, *, clock: Clock,
        after_seconds: float, action: Literal["mark", "fail"],
    ) -> None:  # fmt: skip
        self._worker = worker
        self._database = database
        self._narrator = narrator
        self._clock = clock
        self._after_seconds = after_seconds
        self._action = action
        self._told: dict[int, int] = {}
        self._looking: asyncio.Task[None] | None = None

    @property
    def silent(self) -> frozenset[int]:
        """`task.id` of every task whose run has said nothing for so long."""
        return frozenset(run.key.id for run in self._silent_runs())

    def start(self) -> None:
        """Begin to look."""
        seconds = min(max(self._after_seconds / 10, MIN_LOOK_SECONDS), MAX_LOOK_SECONDS)
        self._looking = asyncio.create_task(self._look_again(seconds))

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look_again(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self._look()
            except StorageError as error:  # it will be seen the next time
                logger.warning("stuck tasks could not be looked at: %s", error)

    async def _look(self) -> None:
        silent = {run.key.id: run for run in self._silent_runs()}
        for id in [id for id in self._told if id not in silent]:
            self._goes_on(id)
        new = [id for id in silent if id not in self._told]
        if not new:
            return
        statuses = await self._database.read(partial(listing.statuses, ids=new))
        for id in new:
            if statuses.get(id) == TaskStatus.RUNNING and self._is_silent(silent[id]):
                self._tell(silent[id])

    def _tell(self, run: Run) -> None:
        silent = self._clock.monotonic() - run.heard_at
        since_ms = self._clock.wall_ms() - int(silent * 1000)
        self._told[run.key.id] = since_ms
        roles = run.agents
        logger.warning(
            "task is stuck", extra={"task_id": run.key.task_id, "agents": roles, "silent": silent}
        )
        ends = self._action == "fail"
        self._narrator.stuck(run.key.task_id, roles, seconds=silent, since_ms=since_ms, ends=ends)
        if ends:
            run.tell("stuck")

    def _goes_on(self, id: int) -> None:
        since_ms = self._told.pop(id)
        run = self._worker.find(id)
        if run is not None:  # else its end was told
            logger.info("task goes on", extra={"task_id": run.key.task_id})
            self._narrator.goes_on(run.key.task_id, since_ms=since_ms)

    def _silent_runs(self) -> list[Run]:
        return [run for run in self._worker.runs if self._is_silent(run)]

    def _is_silent(self, run: Run) -> bool:
        return self._clock.monotonic() - run.heard_at >= self._after_seconds
