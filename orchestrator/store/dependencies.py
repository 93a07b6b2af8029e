"""Dependencies: what must complete before a task starts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import orjson

from orchestrator.store.database import Connection
from orchestrator.tasks import TaskStatus


class Needed(NamedTuple):
    """A task that must complete first."""

    id: int
    task_id: str
    status: str

    @property
    def broken(self) -> bool:
        """Whether it ended without completing."""
        return self.status in (TaskStatus.FAILED, TaskStatus.CANCELLED, TaskStatus.TIMED_OUT)


def find(connection: Connection, owner: str, after: Sequence[str]) -> list[Needed | None]:
    """The tasks of an owner by their ids; None for one that is not there."""
    query = "SELECT id, status FROM task WHERE task_id = ? AND owner = ? AND deleted IS NULL"
    found: list[Needed | None] = []
    for task_id in after:
        row = connection.execute(query, (task_id, owner)).fetchone()
        found.append(None if row is None else Needed(row[0], task_id, row[1]))
    return found


def add(connection: Connection, id: int, needed: Iterable[Needed]) -> int:
    """Let a task wait for those that have not completed yet; returns how many there are."""
    waits = dict.fromkeys(n.id for n in needed if n.status != TaskStatus.COMPLETED)
    for other in waits:
        connection.execute("INSERT INTO dependency (task, after) VALUES (?, ?)", (id, other))
    return len(waits)


class Outlook(NamedTuple):
    """Whether an ended task could start if it were queued again."""

    waits: Sequence[Needed]
    """What it would wait for, among others that have completed."""
    blocked: str | None = None
    """Why it could never start."""


def outlook(connection: Any, owner: str, started: int | None, request: str) -> Outlook:
    """Look at the `after` of a request again.

    Args:
        connection: The writer's, or that of a read transaction.
        owner: Whose task it is.
        started: When it started first: nothing holds back what has started once.
        request: JSON text of its request.
    """
    if started is not None or '"after"' not in request:
        return Outlook(())
    waits = []
    after = orjson.loads(request).get("after", ())
    for task_id, needed in zip(after, find(connection, owner, after), strict=True):
        if needed is None:
            words = f"The task {task_id}, which must complete first, is not there any more."
            return Outlook((), words)
        if needed.broken:
            words = f"The task {task_id}, which must complete first, did not; retry that one first."
            return Outlook((), words)
        waits.append(needed)
    return Outlook(waits)
