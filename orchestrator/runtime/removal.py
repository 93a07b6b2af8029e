"""Removal: a deleted task is gone for everybody at once, its rows follow in the background."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial

from orchestrator.clock import Clock
from orchestrator.errors import PoststreamError
from orchestrator.runtime.channels import Channels
from orchestrator.store import deletion
from orchestrator.store.controls import Call
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)


class Removal:
    """Deletes tasks: one by hand, many by retention and cleanup.

    Args:
        writer: For marks and rows.
        channels: Whose readers end.
        clock: For times.
    """

    def __init__(self, writer: Writer, channels: Channels, clock: Clock) -> None:
        self._writer = writer
        self._channels = channels
        self._clock = clock
        self._removing: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether rows of deleted tasks are being removed."""
        return bool(self._removing)

    async def delete(self, task_id: str, *, owner: str | None, last_event_id: int | None) -> None:
        """Delete a finished task.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
            TaskConflict: It has not ended, or gone on since `last_event_id`.
        """
        call = Call(
            "delete", task_id, owner, requested_by="", last_event_id=last_event_id,
            now=self._clock.wall_ms(),
        )  # fmt: skip
        mark = partial(deletion.mark, call=call)
        id = await self._writer.submit(mark, self._channels.remove)
        self.remove_rows([id])
        logger.info("task deleted", extra={"task_id": task_id})

    async def delete_ended(self, ids: Sequence[int], *, ended_before_ms: int) -> int:
        """Delete those of some tasks that have ended before a time; returns how many."""
        mark = partial(
            deletion.mark_ended, ids=ids, ended_before_ms=ended_before_ms,
            now=self._clock.wall_ms(),
        )  # fmt: skip
        marked = await self._writer.submit(mark, self._show, rows=len(ids))
        self.remove_rows(marked)
        return len(marked)

    async def remove_marked(self) -> None:
        """Go on with what an earlier process has begun."""
        self.remove_rows(await self._writer.submit(deletion.find_marked))

    def remove_rows(self, ids: Sequence[int]) -> None:
        """Remove the rows of marked tasks in the background."""
        if ids:
            removing = asyncio.create_task(self._remove(ids))
            self._removing.add(removing)
            removing.add_done_callback(self._removing.discard)

    def close(self) -> None:
        """Remove no more; the next start goes on."""
        for removing in self._removing:
            removing.cancel()

    async def _remove(self, ids: Sequence[int]) -> None:
        try:
            for id in ids:
                remove = partial(deletion.remove_rows, id=id)
                while await self._writer.submit(remove, rows=200, waits=True):
                    pass
        except PoststreamError as error:
            logger.warning("rows of deleted tasks stay until the next start: %s", error)

    def _show(self, ids: Sequence[int]) -> None:
        for id in ids:
            self._channels.remove(id)
