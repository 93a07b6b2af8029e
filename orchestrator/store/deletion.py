"""Deletion: marked in one transaction and gone for everybody; rows follow in the background."""

from __future__ import annotations

from orchestrator.errors import PoststreamError
from orchestrator.store import controls
from orchestrator.store.controls import Call
from orchestrator.store.database import Connection

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


def remove_rows(connection: Connection, id: int) -> bool:
    """Remove some rows of a marked task; False when there was nothing left to remove."""
    return any(connection.execute(step, (id,)).rowcount > 0 for step in _STEPS)


def find_marked(connection: Connection) -> list[int]:
    """Marked tasks that still have rows."""
    return [row[0] for row in connection.execute("SELECT id FROM task WHERE deleted IS NOT NULL")]
