"""Moves of a task: each a compare-and-set in the transaction that writes its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from orchestrator.errors import AppendRefused
from orchestrator.events import Draft, to_json
from orchestrator.store import agent_runs, events
from orchestrator.store.database import Connection, assignments
from orchestrator.store.events import Appended, Change, RunKey
from orchestrator.store.submissions import dependency_failed
from orchestrator.tasks import OWNED_STATES, TaskStatus


class Claimed(NamedTuple):
    """A task a run has just taken."""

    run: RunKey
    owner: str
    request: str
    active_ms: int
    log_bytes: int


class Ended(NamedTuple):
    """What the end of a task did."""

    own: Appended
    released: list[tuple[int, str, str, int, int]]
    """Queued tasks that waited only for it: id, task id, owner, priority, round."""
    broken: list[Appended]
    """Tasks that waited for it and ended with it."""


def claim(connection: Connection, id: int, round: int, node: str, now: int) -> Claimed | None:
    """Take a queued task; None when this delivery of it is out of date.

    Every move to `queued` raises the round, so a lost, doubled or late delivery is harmless.
    """
    row = connection.execute(
        "UPDATE task SET status = 'running', epoch = epoch + 1, node = ?, updated = ?,"
        " started = coalesce(started, ?),"
        " queue_ms = queue_ms + CASE WHEN ? > queued THEN ? - queued ELSE 0 END"
        " WHERE id = ? AND round = ? AND status = 'queued' AND deleted IS NULL"
        " RETURNING task_id, epoch, owner, request, active_ms, log_bytes",
        (node, now, now, now, now, id, round),
    ).fetchone()
    if row is None:
        return None
    return Claimed(RunKey(id, row[0], row[1]), *row[2:])


def finish(
    connection: Connection, run: RunKey, draft: Draft, *, before: Sequence[Draft],
    changes: Sequence[Change], completed: int, failed: int, active_ms: int, now: int,
) -> Ended | AppendRefused:  # fmt: skip
    """End a task as its run says, unless it is being cancelled: then it ends cancelled.

    Args:
        connection: The writer's.
        run: Whose task it is.
        draft: The terminal event.
        before: Events of the run that are not stored yet.
        changes: What belongs to those.
        completed: How many agents delivered.
        failed: How many did not.
        active_ms: How long the task was active.
        now: Milliseconds since 1970.
    """
    row = connection.execute(
        "SELECT status, requested_by, last_seq,"
        " EXISTS (SELECT 1 FROM dependency WHERE after = task.id)"
        " FROM task WHERE id = ? AND epoch = ?",
        (run.id, run.epoch),
    ).fetchone()
    if row is None or row[0] not in OWNED_STATES:
        return events.refusal(connection, run)
    status, requested_by, last_seq, awaited = row
    if status == TaskStatus.CANCELLING:
        draft = cancelled_event(
            requested_by, active_ms, now, not_stopped=draft.fields.get("notStopped", ())
        )
    for change in changes:
        change(connection, run)
    if draft.fields.get("code") == "internal":  # whatever broke, no attempt stays without an end
        before = [*before, *agent_runs.close_open(connection, run.id, now, will_retry=False)]
    return _end(
        connection, run.id, run.task_id, [*before, draft], last_seq=last_seq, active_ms=active_ms,
        now=now, agents={"agents_completed": completed, "agents_failed": failed}, awaited=awaited,
    )  # fmt: skip


def let_go(
    connection: Connection, run: RunKey, *, handing_back: bool, active_ms: int, now: int
) -> Appended | AppendRefused:
    """A run leaves its task unfinished: `pausing` becomes `paused`, `running` waits in the queue.

    Refused when there is something else to do: the pause was taken back, or the task is cancelled.

    Args:
        connection: The writer's.
        run: Whose task it is.
        handing_back: Whether a running task is to go on elsewhere.
        active_ms: How long the task was active.
        now: Milliseconds since 1970.
    """
    row = connection.execute(
        "SELECT status, requested_by FROM task WHERE id = ? AND epoch = ?", (run.id, run.epoch)
    ).fetchone()
    if row is not None and row[0] == TaskStatus.PAUSING:
        status, rounds = TaskStatus.PAUSED, 0
        fields = {"state": "paused", "reason": "pause", "requestedBy": row[1]}
    elif row is not None and row[0] == TaskStatus.RUNNING and handing_back:
        status, rounds = TaskStatus.QUEUED, 1
        fields = {"state": "queued", "reason": "handed_back"}
    else:
        return events.refusal(connection, run)
    fields["done"] = agent_runs.delivered(connection, run.id)
    last_seq = connection.execute(
        "UPDATE task SET status = ?, round = round + ?, node = NULL, queued = ?, updated = ?,"
        " active_ms = ?, last_seq = last_seq + 1, turned = last_seq + 1"
        " WHERE id = ? RETURNING last_seq",
        (status.value, rounds, now, now, active_ms, run.id),
    ).fetchone()[0]
    return store(
        connection, run.id, run.task_id, [Draft("task_state", fields, now)], last_seq, status
    )


def cancelled_event(
    requested_by: str | None, active_ms: int, now: int, *, not_stopped: Sequence[str] = ()
) -> Draft:
    """The end of a cancelled task."""
    fields = {
        "status": TaskStatus.CANCELLED.value,
        "error": "The task was cancelled.",
        "code": "cancelled",
        "totalExecutionTime": active_ms,
    }
    if requested_by:
        fields["requestedBy"] = requested_by
    if not_stopped:
        fields["notStopped"] = list(not_stopped)
    return Draft("task_error", fields, now)


def store(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], last_seq: int,
    status: str,
) -> Appended:  # fmt: skip
    """Store drafts under the numbers that end with `last_seq`, which was just set."""
    stored = events.number(task_id, drafts, last_seq=last_seq)
    events.insert(connection, id, stored)
    return Appended(id, stored, status)


def end(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], *, active_ms: int,
    now: int,
) -> Ended:  # fmt: skip
    """End a task nobody runs; the last draft is its terminal event."""
    delivered = len(agent_runs.delivered(connection, id))
    return _end(
        connection, id, task_id, drafts, last_seq=_last_seq(connection, id), active_ms=active_ms,
        now=now, agents={"agents_completed": delivered},
    )  # fmt: skip


def _last_seq(connection: Connection, id: int) -> int:
    row = connection.execute("SELECT last_seq FROM task WHERE id = ?", (id,)).fetchone()
    return int(row[0])


def _end(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], *, last_seq: int,
    active_ms: int, now: int, agents: Mapping[str, int], awaited: bool = True,
) -> Ended:  # fmt: skip
    """The terminal transaction: status and event together, and what waited for this task."""
    own = _store_end(
        connection, id, task_id, drafts, last_seq=last_seq, active_ms=active_ms, now=now,
        agents=agents,
    )  # fmt: skip
    if own.status == TaskStatus.COMPLETED:
        return Ended(own, _release(connection, id) if awaited else [], [])
    connection.execute("DELETE FROM dependency WHERE task = ?", (id,))
    return Ended(own, [], _break(connection, id, task_id, now))


def _store_end(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], *, last_seq: int,
    active_ms: int, now: int, agents: Mapping[str, int] = {},
) -> Appended:  # fmt: skip
    fields = drafts[-1].fields
    last_seq += len(drafts)
    values = {
        "status": fields.get("status", TaskStatus.COMPLETED.value), "ended": now, "updated": now,
        "active_ms": active_ms, "last_seq": last_seq, "turned": last_seq, **agents,
    }  # fmt: skip
    if "error" in fields:
        values["error"], values["code"] = fields["error"], fields["code"]
    if "usage" in fields:
        values["usage"] = to_json(fields["usage"])
    connection.execute(
        f"UPDATE task SET {assignments(*values)}, node = NULL, cancel_deadline = NULL WHERE id = ?",
        (*values.values(), id),
    )
    return store(connection, id, task_id, drafts, last_seq, values["status"])


def _release(connection: Connection, id: int) -> list[tuple[int, str, str, int, int]]:
    """Tasks that waited for this one only."""
    waiting = connection.execute("SELECT task FROM dependency WHERE after = ?", (id,)).fetchall()
    if not waiting:
        return []
    connection.execute("DELETE FROM dependency WHERE after = ?", (id,))
    released = []
    for (task,) in waiting:
        row = connection.execute(
            "SELECT id, task_id, owner, priority, round FROM task WHERE id = ?"
            " AND status = 'queued' AND NOT EXISTS (SELECT 1 FROM dependency WHERE task = ?)",
            (task, task),
        ).fetchone()
        if row is not None:
            released.append(tuple(row))
    return released


def _break(connection: Connection, id: int, task_id: str, now: int) -> list[Appended]:
    """End every task that waited for this one, and what waits for those."""
    broken: list[Appended] = []
    ended = [(id, task_id)]
    for failed, failed_task_id in ended:  # grows meanwhile; chains may be long
        waiting = connection.execute(
            "SELECT t.id, t.task_id FROM dependency d JOIN task t ON t.id = d.task"
            " WHERE d.after = ? AND t.status IN ('queued', 'paused')",
            (failed,),
        ).fetchall()
        for other, other_task_id in waiting:
            # With all its rows: it may wait for another task of this chain too.
            connection.execute("DELETE FROM dependency WHERE task = ?", (other,))
            draft = dependency_failed(failed_task_id, now)
            own = _store_end(
                connection, other, other_task_id, [draft], last_seq=_last_seq(connection, other),
                active_ms=0, now=now,
            )  # fmt: skip
            broken.append(own)
            ended.append((other, other_task_id))
    return broken
