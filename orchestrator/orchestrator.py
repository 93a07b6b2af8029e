"""The orchestrator: runs the agents of a task one after another, at once, or as a graph.

It knows no database and no server, and is usable alone: events go to the caller's callback. In the
runtime the same runs report to the event log.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from orchestrator.agents import AgentRegistry, Team
from orchestrator.clock import Clock
from orchestrator.deadlines import Deadlines
from orchestrator.errors import CallbackFailed
from orchestrator.milestones import created_event, terminal_event
from orchestrator.options import RunOptions
from orchestrator.outcomes import RunResult
from orchestrator.progress import CallbackRecorder, Limits, ProgressCallback, Recorder
from orchestrator.runs import TaskRun, task_info
from orchestrator.tasks import TaskRequest, rounded_ms


@dataclass(slots=True, kw_only=True)
class TaskResult(RunResult):
    """What `Orchestrator.execute_task` returns."""

    task_id: str
    artifacts: Mapping[tuple[str, str], bytes]
    """Content of every artifact by role and name."""


class Orchestrator:
    """Runs tasks with the agents of a registry.

    Args:
        registry: The agents.
        clock: Time and chance.
        limits: What one agent may write.
        cancel_grace_seconds: How long a stopped agent may take to end.
        task_timeout_seconds: Active time of a task that names none; None for no limit.
        redact: Replaces secrets in error texts.
    """

    def __init__(
        self,
        registry: AgentRegistry,
        *,
        clock: Clock | None = None,
        limits: Limits | None = None,
        cancel_grace_seconds: float = 5.0,
        task_timeout_seconds: float | None = 3600.0,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.options = RunOptions(
            registry=registry,
            clock=clock or Clock(),
            limits=limits or Limits(),
            cancel_grace_seconds=cancel_grace_seconds,
            task_timeout_seconds=task_timeout_seconds,
            redact=redact,
        )

    async def execute_task(
        self, request: TaskRequest, progress_callback: ProgressCallback | None = None
    ) -> TaskResult:
        """Run a task to its end.

        Cancelling the caller stops the agents first and is then raised.

        Args:
            request: What to do.
            progress_callback: Called with every event in order; `seq` is None, since no log
                numbers them.

        Returns:
            The outputs and how it ended; a task that failed is a result, not an exception.

        Raises:
            InvalidRequest: An agent does not exist or is unavailable.
        """
        team = self.options.registry.team(request.selected_agents)
        task_id = self.options.clock.task_id()
        recorder = CallbackRecorder(task_id, progress_callback)
        deadlines = Deadlines(asyncio.get_running_loop())
        run = TaskRun(self.options, task_info(task_id, request), request, recorder, deadlines)
        started = self.options.clock.monotonic()
        driving = asyncio.create_task(self._drive(run, team, request, recorder))
        try:
            result = await asyncio.shield(driving)
        except asyncio.CancelledError:
            run.stop("cancel")
            await asyncio.wait([driving])
            if driving.exception() is None:
                with contextlib.suppress(CallbackFailed):
                    await self._report_end(driving.result(), started, recorder)
            raise
        try:
            await self._report_end(result, started, recorder)
        except CallbackFailed:
            result = run.broken_result()
        return TaskResult(
            task_id=task_id,
            artifacts=recorder.artifacts,
            **{name: getattr(result, name) for name in RunResult.__dataclass_fields__},
        )

    async def _report_end(self, result: RunResult, started: float, recorder: Recorder) -> None:
        elapsed = rounded_ms(self.options.clock.monotonic() - started)
        await recorder.record(terminal_event(result, elapsed, self.options.clock.wall_ms()))

    async def _drive(
        self, run: TaskRun, team: Team, request: TaskRequest, recorder: Recorder
    ) -> RunResult:
        try:
            await recorder.record(created_event(team, request, self.options.clock.wall_ms()))
            return await run.drive()
        except CallbackFailed:
            return run.broken_result()
