"""Shares: who besides its owner may read a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, exists, select

from orchestrator.errors import PoststreamError, TaskNotFound
from orchestrator.store.database import Connection
from orchestrator.store.tables import Share, Task

EVERYONE = ""
"""Stands for whoever has a token; no subject is empty."""


class Shared(NamedTuple):
    """Who may read a task from now on."""

    task_id: str
    owner: str
    subjects: Sequence[str]

    def may_read(self, subject: str) -> bool:
        """Whether somebody may."""
        return subject == self.owner or subject in self.subjects or EVERYONE in self.subjects


def replace(
    connection: Connection, task_id: str, *, owner: str | None, subjects: Sequence[str]
) -> Shared | PoststreamError:
    """Share a task with these subjects and nobody else; refused with `TaskNotFound`."""
    row = connection.execute(
        "SELECT id, owner FROM task"
        " WHERE task_id = ? AND owner = coalesce(?, owner) AND deleted IS NULL",
        (task_id, owner),
    ).fetchone()
    if row is None:
        return TaskNotFound(task_id)
    connection.execute("DELETE FROM share WHERE task = ?", (row[0],))
    connection.executemany(
        "INSERT INTO share (task, subject) VALUES (?, ?)",
        [(row[0], subject) for subject in dict.fromkeys(subjects)],
    )
    return Shared(task_id, row[1], subjects)


def of_task(session: Session, id: int) -> list[str]:
    """Whom a task is shared with, in the order of their names."""
    query = select(Share.subject).where(Share.task == id)
    return list(session.exec(query.order_by(col(Share.subject))))


def is_shared_with(subject: str) -> ColumnElement[bool]:
    """The condition that the one `Task` of a query is shared with somebody."""
    mine = col(Share.subject).in_((subject, EVERYONE))
    return exists().where(col(Share.task) == col(Task.id), mine)


def shared_with(subject: str) -> ColumnElement[bool]:
    """The same for a list: begins with the shares, of which there are fewer than tasks."""
    mine = col(Share.subject).in_((subject, EVERYONE))
    return col(Task.id).in_(select(Share.task).where(mine))
