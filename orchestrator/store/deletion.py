"""Deletion: marked in one transaction and gone for everybody; rows follow in the background."""

from __future__ import annotations

from collections.abc import Sequence

from sqlmodel import Session, col, select

from orchestrator.errors import PoststreamError
from orchestrator.store import controls
from orchestrator.store.controls import Call
from orchestrator.store.database import Connection
from orchestrator.store.tables import Task

ROWS = 500  # more in one transaction would make every other writer wait
PIECES = 64  # 16 MiB of artifacts

_PIECES_OF = (
    "SELECT p.artifact, p.number FROM artifact_piece p JOIN artifact a ON a.id = p.artifact"
    f" WHERE a.task = ? LIMIT {PIECES}"
)
_EVENTS_OF = f"SELECT id FROM event WHERE task = ? LIMIT {ROWS}"

_STEPS = (
    f"DELETE FROM artifact_piece WHERE (artifact, number) IN ({_PIECES_OF})",
    f"DELETE FROM event WHERE id IN ({_EVENTS_OF})",
    "DELETE FROM artifact WHERE task = ?",
    "DELETE FROM agent_run WHERE task = ?",
    "DELETE FROM dependency WHERE task = ?",
    "DELETE FROM share WHERE task = ?",
    # What people wrote goes with the rest, also from a row that has to stay.
    (
        "UPDATE task SET title = '', description = '', request = '', agents = '[]',"
        " metadata = '{}', error = NULL WHERE id = ? AND request != ''"
    ),
    # The newest row stays, marked, until there is a newer one: SQLite would give its number to
    # the next task, and whoever still reads the old one would read the new one.
    "DELETE FROM task WHERE id = ? AND id < (SELECT max(id) FROM task)",
)


def mark(connection: Connection, call: Call) -> int | PoststreamError:
    """Mark a finished task as deleted; its idempotency key is free from then on.

    Returns:
        `task.id`; refused with `TaskNotFound`, `TaskConflict` or `CursorBeyondEnd`.
    """
    found = controls.find(connection, call)
    if isinstance(found, PoststreamError):
        return found
    connection.execute(
        "UPDATE task SET deleted = ?, idempotency_key = NULL WHERE id = ?", (call.now, found.id)
    )
    return found.id


def find_ended(
    session: Session, *, ended_before_ms: int, owner: str | None, archived: bool | None, after: int
) -> list[int]:
    """Finished tasks that ended before a time, by `task.id`, at most `ROWS`.

    Args:
        session: A read transaction.
        ended_before_ms: Exclusive.
        owner: Whose; None for everybody's.
        archived: Only those that are, or are not; None for both.
        after: `task.id`, exclusive.
    """
    query = select(Task.id).where(col(Task.ended) < ended_before_ms, col(Task.deleted).is_(None))
    if owner is not None:
        query = query.where(Task.owner == owner)
    if archived is not None:
        query = query.where(col(Task.archived).is_(archived))
    return list(session.exec(query.where(col(Task.id) > after).order_by(col(Task.id)).limit(ROWS)))


def mark_ended(
    connection: Connection, ids: Sequence[int], *, ended_before_ms: int, now: int
) -> list[int]:
    """Mark those of some tasks as deleted that are finished still; returns them."""
    marked = []
    for id in ids:
        changed = connection.execute(
            "UPDATE task SET deleted = ?, idempotency_key = NULL"
            " WHERE id = ? AND ended < ? AND deleted IS NULL",
            (now, id, ended_before_ms),
        ).rowcount
        marked += [id] * changed
    return marked


def archive_ended(connection: Connection, ids: Sequence[int], *, ended_before_ms: int) -> int:
    """Archive those of some tasks that are finished still; returns how many."""
    return sum(
        connection.execute(
            "UPDATE task SET archived = true WHERE id = ? AND ended < ? AND deleted IS NULL"
            " AND NOT archived",
            (id, ended_before_ms),
        ).rowcount
        for id in ids
    )


def remove_rows(connection: Connection, id: int) -> bool:
    """Remove some rows of a marked task; False when there was nothing left to remove."""
    return any(connection.execute(step, (id,)).rowcount > 0 for step in _STEPS)


def find_marked(connection: Connection) -> list[int]:
    """Marked tasks that still have rows."""
    return [row[0] for row in connection.execute("SELECT id FROM task WHERE deleted IS NOT NULL")]
