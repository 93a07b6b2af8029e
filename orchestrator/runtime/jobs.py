"""Jobs: tasks as a history with five records each, and what may be done to old ones."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import orjson

import orchestrator
from orchestrator.clock import Clock, iso
from orchestrator.runtime.job_stats import GroupBy, Tallies
from orchestrator.runtime.retention import Cleaned, Retention
from orchestrator.runtime.snapshots import last_run
from orchestrator.store import jobs
from orchestrator.store.database import Database
from orchestrator.store.listing import TaskFilter
from orchestrator.store.tables import AgentRun, Software, Task
from orchestrator.store.writer import Writer
from orchestrator.tasks import END_STATES, AgentStatus

DAY_MS = 86_400_000
_OWN_WORDS = frozenset({"description", "title"})  # of a request; the rest is how it was wanted


class Jobs:
    """The history of all tasks.

    Args:
        database: Where it is read.
        writer: Where this process says what it runs with.
        retention: Archives and deletes.
        clock: For times.
        node: Name of this process.
    """

    def __init__(
        self, database: Database, writer: Writer, retention: Retention, *, clock: Clock, node: str
    ) -> None:
        self._database = database
        self._writer = writer
        self._retention = retention
        self._clock = clock
        self._node = node

    async def note_software(self) -> None:
        """Store with what this process runs."""
        note = partial(
            jobs.note_software, node=self._node, version=orchestrator.__version__,
            python=platform.python_version(), platform=platform.platform(),
            now=self._clock.wall_ms(),
        )  # fmt: skip
        await self._writer.submit(note)

    async def history(
        self, wanted: TaskFilter, *, offset: int, limit: int
    ) -> tuple[list[dict[str, Any]], int]:
        """Jobs, newest first, under the names of the wire, and how many there are in all."""
        read = partial(jobs.history, wanted=wanted, offset=offset, limit=limit)
        page = await self._database.read(read)
        return [job(task, runs, page.software) for task, runs in page.jobs], page.total

    async def stats(self, *, owner: str | None, days: int, group_by: GroupBy) -> dict[str, Any]:
        """Counts, rates, times and costs of the tasks created in the last days.

        Args:
            owner: Whose; None for everybody's.
            days: How many.
            group_by: What makes a group.
        """
        since_ms = self._clock.wall_ms() - days * DAY_MS
        tallies = Tallies(group_by)
        after = 0
        while True:
            read = partial(jobs.task_figures, owner=owner, since_ms=since_ms, after=after)
            figures = await self._database.read(read)
            if not figures:
                break
            tallies.add_tasks(figures)
            if group_by == "agent":
                attempts = partial(
                    jobs.attempt_figures, owner=owner, since_ms=since_ms, first=figures[0].id,
                    last=figures[-1].id,
                )  # fmt: skip
                tallies.add_attempts(await self._database.read(attempts))
            after = figures[-1].id
        return {"days": days, "groupBy": group_by, "from": iso(since_ms), **tallies.to_dict()}

    async def cleanup(
        self, mode: Literal["archive", "delete"], *, older_than_days: float | None,
        owner: str | None,
    ) -> Cleaned:  # fmt: skip
        """Archive or delete finished tasks; see `Retention.cleanup`."""
        return await self._retention.cleanup(mode, older_than_days=older_than_days, owner=owner)


def job(task: Task, runs: Sequence[AgentRun], software: Sequence[Software]) -> dict[str, Any]:
    """The entry of a task in the history."""
    request = orjson.loads(task.request)
    fields: dict[str, Any] = {
        "taskId": task.task_id,
        "title": task.title,
        "status": task.status,
        "jobType": task.job_type,
        "triggerSource": task.trigger_source,
        "archived": task.archived,
        "createdAt": iso(task.created),
        "startedAt": None if task.started is None else iso(task.started),
        "endedAt": None if task.ended is None else iso(task.ended),
        "executionSummary": _summary(task, runs),
        "phaseResults": [_phase(role, task, runs) for role in request["selectedAgents"]],
        "performanceMetrics": _metrics(task),
        "userPreferences": {k: v for k, v in request.items() if k not in _OWN_WORDS},
        "systemInfo": _system(task, software),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _summary(task: Task, runs: Sequence[AgentRun]) -> dict[str, Any]:
    last = {run.role: run.status for run in runs}  # the newest attempt comes last
    completed = sum(status == AgentStatus.COMPLETED for status in last.values())
    failed = sum(
        status == AgentStatus.ERROR
        or (status == AgentStatus.CANCELLED and task.status in END_STATES)
        for status in last.values()
    )
    fields = {
        "status": task.status,
        "agentsCompleted": completed,
        "agentsFailed": failed,
        "outputs": completed,
    }
    return fields if task.error is None else {**fields, "error": task.error}


def _phase(role: str, task: Task, runs: Sequence[AgentRun]) -> dict[str, Any]:
    mine = [run for run in runs if run.role == role]
    last = last_run(role, runs)
    status = AgentStatus.SKIPPED if task.status in END_STATES else AgentStatus.PENDING
    fields: dict[str, Any] = {
        "phaseId": role,
        "status": status if last is None else last.status,
        "attempts": len(mine),
        "executionTime": sum(run.execution_ms or 0 for run in mine),
    }
    if last is not None and last.error is not None:
        fields["error"] = last.error
    return fields


def _metrics(task: Task) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "queueTime": task.queue_ms,
        "totalExecutionTime": task.active_ms,
        "events": task.last_seq,
    }
    return fields if task.usage is None else {**fields, "usage": orjson.loads(task.usage)}


def _system(task: Task, software: Sequence[Software]) -> dict[str, str] | None:
    """With what the task ran: what the node had when it started, or when it was submitted."""
    at = task.started or task.created
    known = [row for row in software if row.since <= at] or software[:1]
    if not known:
        return None
    row = known[-1]
    return {
        "version": row.version,
        "python": row.python,
        "platform": row.platform,
        "node": row.node,
    }
