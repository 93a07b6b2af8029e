"""The worker loop as it is stored: the lines of its log, whether it was stopped, who was told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlmodel import Session, col, select

from orchestrator.events import Draft
from orchestrator.store import events, tasks
from orchestrator.store.database import Connection
from orchestrator.store.events import Appended
from orchestrator.store.heads import LAST_SEQ
from orchestrator.store.tables import Node, RunnerLine
from orchestrator.tasks import TaskStatus

TOLD_TASKS = 100  # in one transaction; two rows each
_TOLD = '"reason":"worker_stopped"'
_WITH_LAST_EVENT = f"JOIN event last ON last.task = task.id AND last.seq = {LAST_SEQ}"

Row = tuple[int, int, int, str, str, str | None, str | None, str | None]
"""id, milliseconds since 1970, thread, type, words, task id, title, owner."""


def append_lines(connection: Connection, lines: Sequence[Row], *, keep: int) -> None:
    """Store lines of the log, and remove what is older than the newest `keep`."""
    connection.executemany(
        "INSERT INTO runner_log (id, at, thread, type, words, task_id, title, owner)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
        lines,
    )
    connection.execute(
        "DELETE FROM runner_log WHERE id <="
        " (SELECT id FROM runner_log ORDER BY id DESC LIMIT 1 OFFSET ?)",
        (keep,),
    )


def clear_lines(connection: Connection) -> None:
    """Remove all lines of the log."""
    connection.execute("DELETE FROM runner_log")


def newest_lines(session: Session, *, limit: int) -> list[Row]:
    """The newest lines of the log, oldest first."""
    query = select(RunnerLine).order_by(col(RunnerLine.id).desc()).limit(limit)
    rows = [
        (r.id, r.at, r.thread, r.type, r.words, r.task_id, r.title, r.owner)
        for r in session.exec(query)
    ]
    return rows[::-1]


def stopped_since(session: Session, *, node: str) -> int | None:
    """Since when the loop of a node is stopped; None when it is to run."""
    return session.exec(select(Node.runner_stopped).where(Node.id == node)).first()


def set_stopped(connection: Connection, *, node: str, since: int | None) -> None:
    """Remember that the loop was stopped, or (None) that it is to run."""
    connection.execute("UPDATE node SET runner_stopped = ? WHERE id = ?", (since, node))


class Told(NamedTuple):
    """What `tell_waiting` did."""

    appended: list[Appended]
    waiting: int
    """How many of the tasks looked at wait, told or not."""
    last: int | None
    """`task.id` of the last task looked at; None when there are no more."""


def tell_waiting(connection: Connection, *, after: int, now: int) -> Told:
    """Tell queued tasks that nobody runs them now (`task_state`, reason worker_stopped).

    Those that wait for other tasks are not told, and nobody is told twice in a row.

    Args:
        connection: The writer's.
        after: `task.id`, exclusive.
        now: Milliseconds since 1970.
    """
    rows = connection.execute(
        f"SELECT task.id, task_id, data FROM task {_WITH_LAST_EVENT}"
        " WHERE ended IS NULL AND status = 'queued' AND task.id > ?"
        " AND NOT EXISTS (SELECT 1 FROM dependency d WHERE d.task = task.id)"
        " ORDER BY task.id LIMIT ?",
        (after, TOLD_TASKS),
    ).fetchall()
    untold = [(id, task_id) for id, task_id, data in rows if _TOLD not in data]
    appended = [_tell(connection, id, task_id, now) for id, task_id in untold]
    return Told(appended, len(rows), rows[-1][0] if len(rows) == TOLD_TASKS else None)


def tell_one(connection: Connection, *, id: int, round: int, now: int) -> Appended | None:
    """Tell one queued task, unless it has moved on or was told."""
    row = connection.execute(
        f"SELECT task_id, data FROM task {_WITH_LAST_EVENT}"
        " WHERE task.id = ? AND round = ? AND status = 'queued'",
        (id, round),
    ).fetchone()
    return None if row is None or _TOLD in row[1] else _tell(connection, id, row[0], now)


def _tell(connection: Connection, id: int, task_id: str, now: int) -> Appended:
    last_seq = events.last_seq(connection, id) + 1
    connection.execute("UPDATE task SET turned = ?, updated = ? WHERE id = ?", (last_seq, now, id))
    draft = Draft("task_state", {"state": "queued", "reason": "worker_stopped"}, now)
    return tasks.store(connection, id, task_id, [draft], last_seq, TaskStatus.QUEUED)
