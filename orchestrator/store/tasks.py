"""Moves of a task: each a compare-and-set in the transaction that writes its event."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from orchestrator.errors import AppendRefused
from orchestrator.events import Draft, to_json
from orchestrator.store import agent_runs, events
from orchestrator.store.database import Connection, assignments
from orchestrator.store.events import Account, Appended, Change, RunKey
from orchestrator.store.heads import LAST_SEQ
from orchestrator.store.submissions import dependency_failed
from orchestrator.tasks import OWNED_STATES, TaskStatus

# Asked for each time, the value of an enum costs as much as a column of a statement.
_RUNNING, _COMPLETED = TaskStatus.RUNNING.value, TaskStatus.COMPLETED.value


class Claimed(NamedTuple):
    """A task a run has just taken."""

    run: RunKey
    owner: str
    request: str
    active_ms: int
    log_bytes: int
    last_seq: int


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
        f" RETURNING task_id, epoch, owner, request, active_ms, log_bytes, {LAST_SEQ}",
        (node, now, now, now, now, id, round),
    ).fetchone()
    if row is None:
        return None
    return Claimed(RunKey(id, row[0], row[1]), *row[2:])


class _Known(NamedTuple):
    """What a run knows of its task; the task ends as the run says only if it is so."""

    status: str
    last_seq: int
    awaited: int
    """How many tasks wait for it."""


_AWAITED = "(SELECT count(*) FROM dependency WHERE after = task.id)"
_AS_KNOWN = f" AND epoch = ? AND status = ? AND {LAST_SEQ} = ? AND {_AWAITED} = ?"


def finish(
    connection: Connection, run: RunKey, draft: Draft, *, before: Sequence[Draft],
    changes: Sequence[Change], completed: int, failed: int, last_seq: int, account: Account,
    now: int,
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
        last_seq: Where the log ends as far as the run knows; it may have gone on.
        account: Brings the task's row up to date.
        now: Milliseconds since 1970.
    """
    known: _Known | None = _Known(_RUNNING, last_seq, 0)
    if draft.fields.get("code") == "internal":  # whatever broke, no attempt stays without an end
        known = _look(connection, run)
        if known is not None:
            _make(changes, connection, run)
            changes = ()
            before = [*before, *agent_runs.close_open(connection, run.id, now, will_retry=False)]
    while known is not None:
        if known.status == TaskStatus.CANCELLING:
            requested_by = _requested_by(connection, run.id)
            not_stopped = draft.fields.get("notStopped", ())
            draft = cancelled_event(requested_by, account.active_ms, now, not_stopped=not_stopped)
        drafts = [*before, draft]
        last_seq = known.last_seq + len(drafts)
        stored = events.number(run.task_id, drafts, last_seq=last_seq)
        values = _end_values(draft, last_seq, account.active_ms, now)
        values["agents_completed"], values["agents_failed"] = completed, failed
        added = account.log_bytes + events.length(stored)
        if _set_ended(connection, run.id, values, added, _AS_KNOWN, run.epoch, *known):
            _make(changes, connection, run)
            events.insert(connection, run.id, stored)
            own = Appended(run.id, stored, values["status"])
            return _with_others(connection, run.task_id, own, now, awaited=known.awaited > 0)
        known = _look(connection, run)
    return events.refusal(connection, run)


def _look(connection: Connection, run: RunKey) -> _Known | None:
    """The task of a run as it is; None when the run has lost it."""
    row = connection.execute(
        f"SELECT status, {LAST_SEQ}, {_AWAITED} FROM task WHERE id = ? AND epoch = ?",
        (run.id, run.epoch),
    ).fetchone()
    return None if row is None or row[0] not in OWNED_STATES else _Known(*row)


def _requested_by(connection: Connection, id: int) -> str | None:
    row = connection.execute("SELECT requested_by FROM task WHERE id = ?", (id,)).fetchone()
    return row[0] if row is not None else None


def _make(changes: Sequence[Change], connection: Connection, run: RunKey) -> None:
    for change in changes:
        change(connection, run)


def let_go(
    connection: Connection, run: RunKey, *, handing_back: bool, account: Account, now: int
) -> Appended | AppendRefused:
    """A run leaves its task unfinished: `pausing` becomes `paused`, `running` waits in the queue.

    Refused when there is something else to do: the pause was taken back, or the task is cancelled.

    Args:
        connection: The writer's.
        run: Whose task it is.
        handing_back: Whether a running task is to go on elsewhere.
        account: Brings the task's row up to date.
        now: Milliseconds since 1970.
    """
    row = connection.execute(
        f"SELECT status, requested_by, {LAST_SEQ} FROM task WHERE id = ? AND epoch = ?",
        (run.id, run.epoch),
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
    last_seq = row[2] + 1
    connection.execute(
        "UPDATE task SET status = ?, round = round + ?, node = NULL, queued = ?, updated = ?,"
        " log_bytes = log_bytes + ?, active_ms = ?, turned = ? WHERE id = ?",
        (status.value, rounds, now, now, *account, last_seq, run.id),
    )
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
    """Store drafts under the numbers that end with `last_seq`, and count them in the row."""
    stored = events.number(task_id, drafts, last_seq=last_seq)
    events.insert(connection, id, stored)
    grow = "UPDATE task SET log_bytes = log_bytes + ? WHERE id = ?"
    connection.execute(grow, (events.length(stored), id))
    return Appended(id, stored, status)


def end(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], *, active_ms: int,
    now: int,
) -> Ended:  # fmt: skip
    """End a task nobody runs; the last draft is its terminal event."""
    delivered = len(agent_runs.delivered(connection, id))
    own = _store_end(
        connection, id, task_id, drafts, active_ms=active_ms, now=now, agents_completed=delivered
    )
    return _with_others(connection, task_id, own, now)


def _store_end(
    connection: Connection, id: int, task_id: str, drafts: Sequence[Draft], *, active_ms: int,
    now: int, **columns: int,
) -> Appended:  # fmt: skip
    last_seq = events.last_seq(connection, id) + len(drafts)
    stored = events.number(task_id, drafts, last_seq=last_seq)
    values = _end_values(drafts[-1], last_seq, active_ms, now) | columns
    _set_ended(connection, id, values, events.length(stored))
    events.insert(connection, id, stored)
    return Appended(id, stored, values["status"])


def _end_values(draft: Draft, last_seq: int, active_ms: int, now: int) -> dict[str, Any]:
    """The columns of a task that ends with this event."""
    fields = draft.fields
    values = {
        "status": fields.get("status", _COMPLETED), "ended": now, "updated": now,
        "active_ms": active_ms, "turned": last_seq,
    }  # fmt: skip
    if "error" in fields:
        values["error"], values["code"] = fields["error"], fields["code"]
    if "usage" in fields:
        values["usage"] = to_json(fields["usage"])
    return values


def _set_ended(
    connection: Connection, id: int, values: Mapping[str, Any], added: int, condition: str = "",
    *arguments: object,
) -> bool:  # fmt: skip
    """Write the columns and by how much the log grows; False when the condition does not hold."""
    cursor = connection.execute(
        f"UPDATE task SET {assignments(*values)}, log_bytes = log_bytes + ?, node = NULL,"
        " cancel_deadline = NULL WHERE id = ?" + condition,
        (*values.values(), added, id, *arguments),
    )
    return cursor.rowcount == 1


def _with_others(
    connection: Connection, task_id: str, own: Appended, now: int, *, awaited: bool = True
) -> Ended:
    """A task has ended: what does that mean for those that waited for it?"""
    if own.status == TaskStatus.COMPLETED:
        return Ended(own, _release(connection, own.id) if awaited else [], [])
    connection.execute("DELETE FROM dependency WHERE task = ?", (own.id,))
    return Ended(own, [], _break(connection, own.id, task_id, now))


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
            own = _store_end(connection, other, other_task_id, [draft], active_ms=0, now=now)
            broken.append(own)
            ended.append((other, other_task_id))
    return broken
