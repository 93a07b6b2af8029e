"""Heads: where the logs of running tasks end, so that an append need not ask each time."""

from __future__ import annotations

from orchestrator.store.database import Connection
from orchestrator.tasks import OWNED_STATES

LAST_SEQ = "(SELECT max(seq) FROM event WHERE event.task = task.id)"
"""Number of a task's last event, for a statement on `task`; the index finds it in one step."""

_LOOK = f"SELECT epoch, status, {LAST_SEQ} FROM task WHERE id = ?"


class Head:
    """What an append depends on.

    Args:
        epoch: Of the run that holds the task.
        status: Of the task.
        last_seq: Number of the last event.
    """

    __slots__ = ("epoch", "last_seq", "status")

    def __init__(self, epoch: int, status: str, last_seq: int) -> None:
        self.epoch = epoch
        self.status = status
        self.last_seq = last_seq


class Heads:
    """What the last appends have left, asked in the writer's transactions only.

    An append must know that its run still holds the task, and which number comes next. To ask the
    task's row takes as long as to store an event. What an append has left is so still while its
    connection has changed no other row, and only that connection writes; so as soon as anything
    else was written, everybody is asked anew. A transaction that is undone takes rows back without
    counting them: whoever undoes one calls `forget`.
    """

    def __init__(self) -> None:
        self._known: dict[int, Head] = {}
        self._changes = 0

    def of(self, connection: Connection, id: int, epoch: int) -> Head | None:
        """The head of the task with that `task.id`; None when that epoch holds it no more."""
        if connection.total_changes != self._changes:
            self._known.clear()
        head = self._known.get(id)
        if head is None:
            row = connection.execute(_LOOK, (id,)).fetchone()
            head = None if row is None else Head(*row)
        if head is None or head.epoch != epoch or head.status not in OWNED_STATES:
            return None
        return head

    def moved(self, connection: Connection, id: int, head: Head, last_seq: int) -> None:
        """An append has left the log so; of other tasks it has changed nothing."""
        head.last_seq = last_seq
        self._known[id] = head
        self._changes = connection.total_changes

    def forget(self) -> None:
        """Ask everybody anew: a transaction was undone."""
        self._known.clear()
