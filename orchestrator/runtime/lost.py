"""Lost tasks: in a state that only a run can hold, and no run holds them.

A start finds what a dead process has left (`recovery`). In a process that lives a run can be lost
too, when nothing could be stored for a while. Whoever resets closes such tasks, and never a live
one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from orchestrator.clock import Clock
from orchestrator.runtime.channels import Channels
from orchestrator.runtime.dispatch import Delivery
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.recovery import Action, Move, move_lost
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import recovery
from orchestrator.store.recovery import Lost
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)


class Reset(NamedTuple):
    """A task that was lost."""

    task_id: str
    title: str
    from_status: str
    to_status: str


class LostTasks:
    """Finds lost tasks of this process and takes them over.

    Args:
        writer: For every move.
        worker: Knows what runs.
        channels: Whose readers are told.
        narrator: Told of each.
        settings: What becomes of them.
        clock: For times.
    """

    def __init__(
        self, writer: Writer, worker: Worker, channels: Channels, narrator: Narrator, *,
        settings: RuntimeSettings, clock: Clock,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._worker = worker
        self._channels = channels
        self._narrator = narrator
        self._settings = settings
        self._clock = clock

    async def reset(
        self, *, action: Action = "fail", older_than_seconds: float = 0, dry_run: bool = False
    ) -> tuple[list[Reset], int]:
        """Take over every task whose run is gone.

        Args:
            action: What becomes of them.
            older_than_seconds: Leave those alone that were heard of in the meantime.
            dry_run: Only say what would be done.

        Returns:
            The lost ones, and how many were skipped because they live or are too young.
        """
        found: list[Lost] = []
        skipped = 0

        def sort(candidates: list[Lost]) -> None:
            # In the callback: a run whose claim was committed before is known to the worker.
            nonlocal skipped
            before_ms = self._clock.wall_ms() - older_than_seconds * 1000
            for lost in candidates:
                if self._worker.find(lost.id) is None and lost.updated <= before_ms:
                    found.append(lost)
                else:
                    skipped += 1

        await self._writer.submit(recovery.find_lost, sort)
        done = await take_over(
            self._writer, found, settings=self._settings, clock=self._clock, action=action,
            dry_run=dry_run, show=self._show,
        )  # fmt: skip
        if not dry_run:
            for lost, entry in done:
                self._narrator.recovered(lost, entry.to_status)
        return [entry for _, entry in done], skipped + len(found) - len(done)

    def _show(self, moved: Move | None) -> None:
        if moved is None:
            return
        if moved.ended is not None:
            self._worker.publish_end(moved.ended)
        if moved.appended is not None:
            self._channels.publish(moved.appended)
        if moved.waiting is not None:
            self._worker.offer(Delivery(*moved.waiting))


async def take_over(
    writer: Writer, found: Sequence[Lost], *, settings: RuntimeSettings, clock: Clock,
    action: Action, dry_run: bool, show: Callable[[Move | None], None] = lambda moved: None,
) -> list[tuple[Lost, Reset]]:  # fmt: skip
    """Move lost tasks on; leaves out those that have moved on by themselves.

    Args:
        writer: For every move.
        found: The tasks.
        settings: What becomes of them.
        clock: For times.
        action: What becomes of them.
        dry_run: Only say what would be done.
        show: Called with each move once it is committed.
    """
    done = []
    for lost in found:
        move = partial(
            move_lost, lost=lost, settings=settings, action=action, dry_run=dry_run,
            now=clock.wall_ms(),
        )  # fmt: skip
        moved = await writer.submit(move, show)
        if moved is not None:
            done.append((lost, Reset(lost.task_id, lost.title, lost.status, moved.status)))
            if not dry_run:
                extra = {"task_id": lost.task_id, "status": moved.status}
                logger.warning("task reset", extra=extra)
    return done
