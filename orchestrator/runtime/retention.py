"""Retention: how long finished tasks are kept, and what is done to old ones when somebody asks.

Unfinished tasks are never touched, and a log is kept whole or not at all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Literal, NamedTuple

from orchestrator.clock import Clock
from orchestrator.errors import StorageError
from orchestrator.runtime.channels import Channels
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.removal import Removal
from orchestrator.store import deletion
from orchestrator.store.database import Database
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)

DAY_SECONDS = 86_400.0
SWEEP_SECONDS = 3600.0
"""Between sweeps, and before the first one: a start with a wrong clock must not delete anything."""
MIN_SWEEP_SECONDS = 0.05
JUMP_SECONDS = 3600.0
"""Wall clock against monotonic clock: more apart since the last sweep is a jump."""
REST_SECONDS = DAY_SECONDS
"""Nothing is deleted for so long after a jump: whoever set the clock wrong has a day to see it."""
UNREAD_SECONDS = 60.0
"""With a retention of 0: how long a task is kept that nobody has read to its end."""
UNREAD_SWEEP_SECONDS = 10.0


class Cleaned(NamedTuple):
    """What a cleanup did."""

    archived: int
    deleted: int


class Retention:
    """Deletes what is old, in the background.

    Args:
        database: Where old tasks are found.
        writer: For archiving.
        channels: Who reads what.
        removal: Deletes tasks.
        narrator: Told of what was done.
        clock: For ages.
        days: How long a finished task is kept; 0 until it was read to its end.
    """

    def __init__(
        self, database: Database, writer: Writer, channels: Channels, removal: Removal,
        narrator: Narrator, *, clock: Clock, days: float,
    ) -> None:  # fmt: skip
        self._database = database
        self._writer = writer
        self._channels = channels
        self._removal = removal
        self._narrator = narrator
        self._clock = clock
        self._days = days
        self._wall_ms = clock.wall_ms()
        self._monotonic = clock.monotonic()
        self._rests_until = 0.0
        self._sweeping: asyncio.Task[None] | None = None
        self._forgetting: set[asyncio.Task[int]] = set()
        if not days:
            channels.on_left = self._forget

    def start(self) -> None:
        """Begin to sweep."""
        seconds = min(max(self._days * DAY_SECONDS / 10, MIN_SWEEP_SECONDS), SWEEP_SECONDS)
        if not self._days:
            seconds = UNREAD_SWEEP_SECONDS
        self._sweeping = asyncio.create_task(self._sweep_again(seconds))

    def close(self) -> None:
        """Sweep no more."""
        for task in (self._sweeping, *self._forgetting):
            if task is not None:
                task.cancel()

    async def cleanup(
        self, mode: Literal["archive", "delete"], *, older_than_days: float | None,
        owner: str | None,
    ) -> Cleaned:  # fmt: skip
        """Archive or delete finished tasks.

        Args:
            mode: What is done to them.
            older_than_days: Only those that ended longer ago; None for the days of retention.
            owner: Whose; None for everybody's.
        """
        days = self._days if older_than_days is None else older_than_days
        # Those that end in this very millisecond are finished too.
        before = self._clock.wall_ms() - int(days * DAY_SECONDS * 1000) + 1
        if mode == "delete":
            return Cleaned(0, await self._delete(before, owner, read=True))
        archived = 0
        async for ids in self._found(before, owner, archived=False):
            archive = partial(deletion.archive_ended, ids=ids, ended_before_ms=before)
            archived += await self._writer.submit(archive, rows=len(ids))
        return Cleaned(archived, 0)

    async def _sweep_again(self, seconds: float) -> None:
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.sweep()
            except StorageError as error:  # the next one may
                logger.warning("old tasks could not be deleted: %s", error)

    async def sweep(self) -> int:
        """Delete what is too old; returns how many.

        Nothing is deleted in the day after the wall clock has jumped: a machine that wakes up in
        another year must not lose its history.
        """
        wall_ms, monotonic = self._clock.wall_ms(), self._clock.monotonic()
        apart = (wall_ms - self._wall_ms) / 1000 - (monotonic - self._monotonic)
        self._wall_ms, self._monotonic = wall_ms, monotonic
        if abs(apart) > JUMP_SECONDS:
            self._rests_until = monotonic + REST_SECONDS
            logger.warning("the clock has jumped by %.0f s: nothing is deleted for a day", apart)
            words = "Retention: the clock has jumped by %.0f s, so nothing is deleted for a day."
            self._narrator.say("warning", words, apart)
        if monotonic < self._rests_until:
            return 0
        kept = self._days * DAY_SECONDS or UNREAD_SECONDS
        # With a retention of 0 whoever reads one will delete it.
        before_ms = wall_ms - int(kept * 1000)
        deleted = await self._delete(before_ms, None, read=bool(self._days))
        if deleted:
            logger.info("old tasks deleted", extra={"count": deleted})
            words = "Retention: deleted %s finished tasks that are older than %g days."
            if self._days:
                self._narrator.say("info", words, deleted, self._days)
        return deleted

    async def _delete(self, before_ms: int, owner: str | None, *, read: bool) -> int:
        """Delete finished tasks, also those that somebody reads if `read`; returns how many."""
        deleted = 0
        async for ids in self._found(before_ms, owner):
            if not read:
                ids = [id for id in ids if not self._channels.is_open(id)]
            deleted += await self._removal.delete_ended(ids, ended_before_ms=before_ms)
        return deleted

    async def _found(
        self, before_ms: int, owner: str | None, *, archived: bool | None = None
    ) -> AsyncIterator[Sequence[int]]:
        """Finished tasks that ended before a time, some at a time."""
        after = 0
        while True:
            find = partial(
                deletion.find_ended, ended_before_ms=before_ms, owner=owner, archived=archived,
                after=after,
            )  # fmt: skip
            ids = await self._database.read(find)
            if not ids:
                return
            after = ids[-1]
            yield ids

    def _forget(self, id: int) -> None:
        """The last reader of an ended task has read it to its end and left."""
        before = self._clock.wall_ms() + 1
        forgetting = asyncio.create_task(self._removal.delete_ended([id], ended_before_ms=before))
        self._forgetting.add(forgetting)
        forgetting.add_done_callback(self._forgotten)

    def _forgotten(self, forgetting: asyncio.Task[int]) -> None:
        self._forgetting.discard(forgetting)
        if not forgetting.cancelled() and (error := forgetting.exception()) is not None:
            logger.warning("a task could not be deleted: %s", error)  # the sweep will
