"""Quotas: how many unfinished tasks each owner may have."""

from __future__ import annotations

from orchestrator.errors import LimitExceeded
from orchestrator.store.database import Connection

MAX_OWNERS = 10_000  # remembered at once; whose count was forgotten are counted again

_COUNT = "SELECT count(*) FROM (SELECT 1 FROM task WHERE owner = ? AND ended IS NULL LIMIT ?)"


class Quotas:
    """What is left to each owner, asked in the writer's transactions only.

    Counting takes longer the more tasks an owner has. So what is left is counted once and then used
    up, by every task that is submitted or tried again; what ended meanwhile is found by the next
    count, when nothing is left. A count may have seen ends that are undone with its transaction;
    so whoever undoes one calls `forget`.

    Args:
        most: How many unfinished tasks an owner may have.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left: dict[str, int] = {}

    def take(self, connection: Connection, owner: str) -> LimitExceeded | None:
        """Let an owner have one more; the refusal when it has as many as it may."""
        left = self._left.get(owner, 0)
        if left <= 0:
            left = self._most - self._count(connection, owner)
        if left <= 0:
            return LimitExceeded("unfinished tasks", self._most)
        self._left[owner] = left - 1
        return None

    def forget(self) -> None:
        """Count everybody anew: a transaction was undone."""
        self._left.clear()

    def _count(self, connection: Connection, owner: str) -> int:
        if len(self._left) >= MAX_OWNERS:
            self._left.clear()
        unfinished: int = connection.execute(_COUNT, (owner, self._most)).fetchone()[0]
        return unfinished
