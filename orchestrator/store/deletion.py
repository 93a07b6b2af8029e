"""Deletion: marked in one transaction, gone for everybody at once; rows follow in the background."""

from __future__ import annotations

from orchestrator.errors import CursorBeyondEnd, PoststreamError, TaskConflict, TaskNotFound
from orchestrator.store.database import Connection
from orchestrator.tasks import END_STATES

ROWS = 500  # more in one transaction would make every other writer wait

_ROWS_OF = {
    "artifact_piece": "artifact IN (SELECT id FROM artifact WHERE task = ?)",
    "artifact": "task = ?",
    "event": "task = ?",
    "agent_run": "task = ?",
    "dependency": "task = ?",
}


def mark(
    connection: Connection, task_id: str, *, owner: str | None, last_event_id: int | None, now: int
) -> int | PoststreamError:
    """Mark a finished task as deleted; its idempotency key is free from then on.

    Returns:
        `task.id`; refused with `TaskNotFound`, `TaskConflict` or `CursorBeyondEnd`.
    """
    row = connection.execute(
        "SELECT id, status, last_seq FROM task"
        " WHERE task_id = ? AND owner = coalesce(?, owner) AND deleted IS NULL",
        (task_id, owner),
    ).fetchone()
    if row is None:
        return TaskNotFound(task_id)
    id, status, last_seq = row
    if status not in END_STATES:
        return TaskConflict(f"The task is {status}; cancel it first.")
    if last_event_id is not None and last_event_id > last_seq:
        return CursorBeyondEnd(last_event_id, last_seq)
    if last_event_id is not None and last_event_id != last_seq:
        return TaskConflict("The task has gone on since then.")
    connection.execute(
        "UPDATE task SET deleted = ?, idempotency_key = NULL WHERE id = ?", (now, id)
    )
    return int(id)


def remove_rows(connection: Connection, id: int) -> bool:
    """Remove up to `ROWS` rows of a marked task; False when nothing is left of it."""
    for table, condition in _ROWS_OF.items():
        limited = f"SELECT rowid FROM {table} WHERE {condition} LIMIT {ROWS}"  # noqa: S608 - ours
        removed = connection.execute(
            f"DELETE FROM {table} WHERE rowid IN ({limited})",  # noqa: S608 - ours
            (id,),
        ).rowcount
        if removed:
            return True
    connection.execute("DELETE FROM task WHERE id = ?", (id,))
    return False


def find_marked(connection: Connection) -> list[int]:
    """Marked tasks that still have rows."""
    return [row[0] for row in connection.execute("SELECT id FROM task WHERE deleted IS NOT NULL")]
