"""Controls: each call is one transaction that looks at the task, decides, and writes its event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from orchestrator.controls import Control, Standing, judge
from orchestrator.errors import (
    CursorBeyondEnd,
    Overloaded,
    PoststreamError,
    TaskConflict,
    TaskNotFound,
)  # fmt: skip
from orchestrator.events import Draft
from orchestrator.store import agent_runs, dependencies, tasks
from orchestrator.store.database import Connection, assignments
from orchestrator.store.dependencies import Needed, Outlook
from orchestrator.store.events import Appended
from orchestrator.store.heads import LAST_SEQ
from orchestrator.store.quotas import Quotas
from orchestrator.store.recovery import Waiting
from orchestrator.store.tasks import Ended
from orchestrator.tasks import OWNED_STATES, TaskStatus

Order = Literal["cancel", "hold", "interrupt", "resume"]
"""What a run is told: end; start nothing more; stop what runs, too; go on."""


class Call(NamedTuple):
    """Who asks for what."""

    control: Control
    task_id: str
    owner: str | None
    """Whose the task must be; None for anybody's."""
    requested_by: str
    last_event_id: int | None
    """The last event the caller has seen; None acts whatever came since."""
    now: int
    """Milliseconds since 1970."""
    grace_ms: int = 0
    """How long agents may take to stop after a cancel."""
    quotas: Quotas = Quotas(0)  # which lets in nobody; only a retry asks
    """How many unfinished tasks the owner may have, if this would be one more."""
    max_queued: int | None = None
    """How many tasks may wait, when that many do; None while there is room for one more."""


class Found(NamedTuple):
    """The task of a call."""

    id: int
    task_id: str
    owner: str
    status: TaskStatus
    last_seq: int
    active_ms: int
    waits: Sequence[Needed]
    """Tasks that must complete before it starts, if this is a retry."""


class Controlled(NamedTuple):
    """What a call did."""

    id: int
    task_id: str
    status: str
    appended: Appended | None = None
    """None when there was nothing to do, or the task ended."""
    ended: Ended | None = None
    order: Order | None = None
    """What its run has to be told."""
    queued: Waiting | None = None
    """The task, if it may start now."""


def control(connection: Connection, call: Call) -> Controlled | PoststreamError:
    """Do what a call asks for.

    Refused with `TaskNotFound`, `CursorBeyondEnd`, `TaskConflict` (the task's state forbids it, or
    the task has turned since `last_event_id`), `LimitExceeded` or `Overloaded`.
    """
    found = find(connection, call)
    if not isinstance(found, Found):
        return found
    return _ACTS[call.control](connection, call, found)


def find(connection: Connection, call: Call) -> Found | Controlled | PoststreamError:
    """The task of a call that is allowed; else what the call is answered."""
    row = connection.execute(
        f"SELECT id, task_id, owner, status, {LAST_SEQ}, active_ms, turned, control,"
        " agents_failed, started, request FROM task"
        " WHERE task_id = ? AND owner = coalesce(?, owner) AND deleted IS NULL",
        (call.task_id, call.owner),
    ).fetchone()
    if row is None:
        return TaskNotFound(call.task_id)
    turned, last_control, agents_failed, started, request = row[6:]
    outlook = Outlook(())
    if call.control == "retry":
        outlook = dependencies.outlook(connection, row[2], started, request)
    found = Found(row[0], row[1], row[2], TaskStatus(row[3]), row[4], row[5], outlook.waits)
    if call.last_event_id is not None and call.last_event_id > found.last_seq:
        return CursorBeyondEnd(call.last_event_id, found.last_seq)
    standing = Standing(found.status, last_control, agents_failed, outlook.blocked)
    verdict = judge(call.control, standing)
    if verdict.repeats:
        return Controlled(found.id, found.task_id, found.status)
    if call.last_event_id is not None and call.last_event_id < turned:
        return TaskConflict(f"The task has gone on since then and is {found.status}.")
    return found if verdict.acts else TaskConflict(verdict.reason)


def _cancel(connection: Connection, call: Call, found: Found) -> Controlled | PoststreamError:
    """At once when no run holds the task, else `cancelling` with a deadline."""
    if found.status in OWNED_STATES:
        deadline = call.now + call.grace_ms
        moved = _move(connection, call, found, TaskStatus.CANCELLING, {"cancel_deadline": deadline})
        return moved if isinstance(moved, TaskConflict) else moved._replace(order="cancel")
    _remember(connection, call, found)
    draft = tasks.cancelled_event(call.requested_by, found.active_ms, call.now)
    ended = tasks.end(
        connection, found.id, found.task_id, [draft], active_ms=found.active_ms, now=call.now
    )
    return Controlled(found.id, found.task_id, TaskStatus.CANCELLED, ended=ended)


def _pause(connection: Connection, call: Call, found: Found) -> Controlled | PoststreamError:
    """At once when no run holds the task, else `pausing` until its run has come to a boundary."""
    order: Order = "interrupt" if call.control == "pause_now" else "hold"
    if found.status == TaskStatus.PAUSING:  # its agents are to stop now after all
        _remember(connection, call, found)
        return Controlled(found.id, found.task_id, found.status, order=order)
    if found.status == TaskStatus.RUNNING:
        moved = _move(connection, call, found, TaskStatus.PAUSING)
        return moved if isinstance(moved, TaskConflict) else moved._replace(order=order)
    if found.status == TaskStatus.QUEUED:
        connection.execute(
            "UPDATE task SET queue_ms = queue_ms + CASE WHEN ? > queued THEN ? - queued ELSE 0 END"
            " WHERE id = ?",
            (call.now, call.now, found.id),
        )
    return _move(connection, call, found, TaskStatus.PAUSED)


def _resume(connection: Connection, call: Call, found: Found) -> Controlled | PoststreamError:
    """Into the queue, or back to `running` when its run has not come to a boundary yet."""
    if found.status == TaskStatus.PAUSING:
        moved = _move(connection, call, found, TaskStatus.RUNNING)
        return moved if isinstance(moved, TaskConflict) else moved._replace(order="resume")
    return _queue(connection, call, found)


def _retry(connection: Connection, call: Call, found: Found) -> Controlled | PoststreamError:
    """Into the queue again, with all that is measured and limited beginning anew."""
    if call.max_queued is not None:
        return Overloaded("queued tasks", call.max_queued)
    if (refused := call.quotas.take(connection, found.owner)) is not None:
        return refused
    dependencies.add(connection, found.id, found.waits)
    agent_runs.reopen(connection, found.id)
    changes = {
        "ended": None, "error": None, "code": None, "cancel_deadline": None,
        "active_ms": 0, "recoveries": 0, "agents_failed": 0, "archived": False,
    }  # fmt: skip
    return _queue(connection, call, found, changes)


_ACTS: dict[Control, Callable[[Connection, Call, Found], Controlled | PoststreamError]] = {
    "cancel": _cancel,
    "pause": _pause,
    "pause_now": _pause,
    "resume": _resume,
    "retry": _retry,
}


def _queue(
    connection: Connection, call: Call, found: Found, changes: Mapping[str, Any] = {}
) -> Controlled | TaskConflict:
    moved = _move(connection, call, found, TaskStatus.QUEUED, {"queued": call.now, **changes})
    if isinstance(moved, TaskConflict):
        return moved
    row = connection.execute(
        "UPDATE task SET round = round + 1 WHERE id = ?"
        " RETURNING id, task_id, owner, priority, round",
        (found.id,),
    ).fetchone()
    query = "SELECT 1 FROM dependency WHERE task = ? LIMIT 1"
    waits = connection.execute(query, (found.id,)).fetchone()
    return moved if waits else moved._replace(queued=Waiting(*row))


def _move(
    connection: Connection, call: Call, found: Found, status: TaskStatus,
    changes: Mapping[str, Any] = {},
) -> Controlled | TaskConflict:  # fmt: skip
    """The move and its event, if the task is still as it was found."""
    reason = "pause" if call.control == "pause_now" else call.control
    fields: dict[str, Any] = {
        "state": status.value, "reason": reason, "requestedBy": call.requested_by
    }  # fmt: skip
    if status in (TaskStatus.PAUSED, TaskStatus.QUEUED):
        fields["done"] = agent_runs.delivered(connection, found.id)
    columns = {
        "status": status.value, "control": call.control, "requested_by": call.requested_by,
        "updated": call.now, "turned": found.last_seq + 1, **changes,
    }  # fmt: skip
    cursor = connection.execute(
        f"UPDATE task SET {assignments(*columns)} WHERE id = ? AND status = ?",
        (*columns.values(), found.id, found.status.value),
    )
    if cursor.rowcount != 1:
        return TaskConflict("The task changed in this moment; look at it again.")
    draft = Draft("task_state", fields, call.now)
    appended = tasks.store(connection, found.id, found.task_id, [draft], found.last_seq + 1, status)
    return Controlled(found.id, found.task_id, status, appended)


def _remember(connection: Connection, call: Call, found: Found) -> None:
    connection.execute(
        "UPDATE task SET control = ?, requested_by = ? WHERE id = ?",
        (call.control, call.requested_by, found.id),
    )
