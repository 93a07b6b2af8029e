"""Sharing: an owner lets others read a task.

What is read by a share ends with it: whoever watches is told of every change in the turn of the
loop in which its commit is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from orchestrator.errors import TaskNotFound
from orchestrator.store import listing, shares
from orchestrator.store.database import Database, Session
from orchestrator.store.shares import Shared
from orchestrator.store.writer import Writer

Watch = Callable[[str, Callable[[str], bool]], None]
"""Told of a change: (task id, whether a subject may read it now)."""


class Sharing:
    """Who may read whose tasks.

    Args:
        database: Where shares are read.
        writer: Where they are written.
    """

    def __init__(self, database: Database, writer: Writer) -> None:
        self._database = database
        self._writer = writer
        self._watches: list[Watch] = []
        self.changes = 0
        """How often shares of any task have changed: who saw it before a check and sees the same
        number after it, knows that the check still holds."""

    def watch(self, watch: Watch) -> None:
        """Tell somebody of every change."""
        self._watches.append(watch)

    async def share(
        self, task_id: str, *, owner: str | None, subjects: Sequence[str], everyone: bool = False
    ) -> None:
        """Let these subjects read a task, and nobody else beside its owner.

        Args:
            task_id: Which task.
            owner: Whose it must be; None for anybody's.
            subjects: Who may read it; empty ends sharing.
            everyone: Whoever has a token may read it.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
        """
        stored = (shares.EVERYONE,) if everyone else tuple(subjects)
        replace = partial(shares.replace, task_id=task_id, owner=owner, subjects=stored)
        await self._writer.submit(replace, self._changed, rows=1 + len(stored))

    async def subjects(self, task_id: str, *, owner: str | None) -> list[str] | None:
        """Whom a task is shared with; None for everyone.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
        """

        def read(session: Session) -> list[str]:
            task = listing.find(session, task_id, owner)
            if task is None:
                raise TaskNotFound(task_id)
            return shares.of_task(session, task.id)

        found = await self._database.read(read)
        return None if shares.EVERYONE in found else found

    async def may_read(self, task_id: str, subject: str) -> bool:
        """Whether a task is shared with somebody, or is its own."""
        find = partial(listing.find, task_id=task_id, owner=subject, shared=True)
        return await self._database.read(find) is not None

    def _changed(self, shared: Shared) -> None:
        self.changes += 1
        for watch in self._watches:
            watch(shared.task_id, shared.may_read)
