"""What a start finds: tasks whose run died with its process, and what becomes of them."""

from __future__ import annotations

from typing import Any, NamedTuple

from orchestrator.events import Draft
from orchestrator.store import agent_runs, events, tasks
from orchestrator.store.database import Connection
from orchestrator.store.events import Appended
from orchestrator.tasks import TaskStatus


class Lost(NamedTuple):
    """A task that a dead process left."""

    id: int
    task_id: str
    status: str
    request: str
    active_ms: int
    updated: int
    recoveries: int
    requested_by: str | None
    title: str
    owner: str
    epoch: int


class Waiting(NamedTuple):
    """A queued task that may start."""

    id: int
    task_id: str
    owner: str
    priority: int
    round: int


class LeftOver(NamedTuple):
    """A process group that a dead process left."""

    group: int
    started: int
    task_id: str
    role: str
    attempt: int


def find_lost(connection: Connection) -> list[Lost]:
    """Tasks in a state that only a run can hold."""
    rows = connection.execute(
        "SELECT id, task_id, status, request, active_ms, updated, recoveries, requested_by,"
        " title, owner, epoch FROM task"
        " WHERE ended IS NULL AND status IN ('running', 'pausing', 'cancelling') ORDER BY id"
    )
    return [Lost(*row) for row in rows]


def find_left_overs(connection: Connection) -> list[LeftOver]:
    """Process groups of attempts that have no end."""
    rows = connection.execute(
        "SELECT r.process_group, r.process_started, t.task_id, r.role, r.attempt"
        " FROM agent_run r JOIN task t ON t.id = r.task"
        " WHERE t.ended IS NULL AND r.status = 'running' AND r.process_group IS NOT NULL"
    )
    return [LeftOver(*row) for row in rows]


def is_lost(connection: Connection, lost: Lost) -> bool:
    """Whether a task is still as it was found: nobody has claimed or moved it since."""
    row = connection.execute(
        "SELECT 1 FROM task WHERE id = ? AND epoch = ? AND status = ? AND deleted IS NULL",
        (lost.id, lost.epoch, lost.status),
    ).fetchone()
    return row is not None


def find_waiting(connection: Connection, id: int) -> Waiting | None:
    """How a task waits, if it is queued."""
    row = connection.execute(
        "SELECT id, task_id, owner, priority, round FROM task WHERE id = ? AND status = 'queued'",
        (id,),
    ).fetchone()
    return None if row is None else Waiting(*row)


def find_queued(connection: Connection) -> list[Waiting]:
    """Queued tasks that wait for nothing but a worker: what was begun before, then the oldest."""
    rows = connection.execute(
        "SELECT id, task_id, owner, priority, round FROM task WHERE ended IS NULL"
        " AND status = 'queued' AND NOT EXISTS (SELECT 1 FROM dependency d WHERE d.task = task.id)"
        " ORDER BY started IS NULL, queued, id"
    )
    return [Waiting(*row) for row in rows]


def requeue(connection: Connection, lost: Lost, *, now: int) -> Appended:
    """`running` → `queued` (reason recovered), `pausing` → `paused`; open attempts are closed."""
    drafts = agent_runs.close_open(connection, lost.id, now, will_retry=True)
    done = agent_runs.delivered(connection, lost.id)
    paused = lost.status == TaskStatus.PAUSING
    status = TaskStatus.PAUSED if paused else TaskStatus.QUEUED
    fields: dict[str, Any] = {"state": status.value, "reason": "recovered", "done": done}
    drafts.append(Draft("task_state", fields, now))
    last_seq = events.last_seq(connection, lost.id) + len(drafts)
    connection.execute(
        "UPDATE task SET status = ?, epoch = epoch + 1, round = round + ?, node = NULL,"
        " queued = ?, updated = ?, recoveries = recoveries + 1, turned = ? WHERE id = ?",
        (status, 0 if paused else 1, now, now, last_seq, lost.id),
    )
    return tasks.store(connection, lost.id, lost.task_id, drafts, last_seq, status)


def close(connection: Connection, lost: Lost, *, error: str, code: str, now: int) -> tasks.Ended:
    """End a lost task as failed; open attempts are closed first."""
    drafts = agent_runs.close_open(connection, lost.id, now, will_retry=False)
    fields = {
        "status": TaskStatus.FAILED.value,
        "error": error,
        "code": code,
        "totalExecutionTime": lost.active_ms,
    }
    drafts.append(Draft("task_error", fields, now))
    return _end(connection, lost.id, lost.task_id, drafts, active_ms=lost.active_ms, now=now)


def close_cancelled(connection: Connection, lost: Lost, *, now: int) -> tasks.Ended:
    """End a lost task that was being cancelled."""
    drafts = agent_runs.close_open(connection, lost.id, now, will_retry=False)
    drafts.append(tasks.cancelled_event(lost.requested_by, lost.active_ms, now))
    return _end(connection, lost.id, lost.task_id, drafts, active_ms=lost.active_ms, now=now)


def close_overdue(
    connection: Connection, id: int, *, deadline: int, now: int
) -> tasks.Ended | None:
    """End a cancelled task whose owner did not do so in time; None when it did.

    The epoch goes up, so that nothing the owner still writes is taken.

    Args:
        connection: The writer's.
        id: `task.id`.
        deadline: Which cancel, by its deadline: there may have been a retry and another one.
        now: Milliseconds since 1970.
    """
    row = connection.execute(
        "SELECT task_id, requested_by, active_ms FROM task"
        " WHERE id = ? AND status = 'cancelling' AND cancel_deadline = ?",
        (id, deadline),
    ).fetchone()
    if row is None:
        return None
    task_id, requested_by, active_ms = row
    drafts = agent_runs.close_open(
        connection, id, now, will_retry=False, code="not_stopped",
        error="The agent did not stop in time.",
    )  # fmt: skip
    not_stopped = [draft.fields["agentRole"] for draft in drafts]
    drafts.append(tasks.cancelled_event(requested_by, active_ms, now, not_stopped=not_stopped))
    return _end(connection, id, task_id, drafts, active_ms=active_ms, now=now)


def _end(
    connection: Connection, id: int, task_id: str, drafts: list[Draft], *, active_ms: int, now: int
) -> tasks.Ended:
    connection.execute("UPDATE task SET epoch = epoch + 1 WHERE id = ?", (id,))
    return tasks.end(connection, id, task_id, drafts, active_ms=active_ms, now=now)
