"""Controls: cancel, pause, resume and retry, and that a cancel ends in time whatever happens."""

from __future__ import annotations

import asyncio
import logging
from functools import partial

from orchestrator.clock import Clock
from orchestrator.controls import Control
from orchestrator.runtime.channels import Channels
from orchestrator.runtime.dispatch import Delivery
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import controls, recovery
from orchestrator.store.controls import Call, Controlled
from orchestrator.store.quotas import Quotas
from orchestrator.store.tasks import Ended
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskStatus

logger = logging.getLogger(__name__)

OVERDUE_SECONDS = 2.0
"""How far past its deadline a cancel may be before somebody else than its run ends it: a run that
comes to it by itself must never be overtaken."""


class Controls:
    """What people do with tasks that exist.

    Args:
        writer: Where moves are committed.
        channels: Where they are shown.
        worker: Whose runs are told.
        quotas: How many unfinished tasks each owner may have.
        clock: For timestamps.
        settings: Limits.
    """

    def __init__(
        self,
        writer: Writer,
        channels: Channels,
        worker: Worker,
        *,
        quotas: Quotas,
        clock: Clock,
        settings: RuntimeSettings,
    ) -> None:
        self._writer = writer
        self._channels = channels
        self._worker = worker
        self._quotas = quotas
        self._clock = clock
        self._settings = settings
        self._overdue: dict[int, asyncio.TimerHandle] = {}

    async def control(
        self,
        control: Control,
        task_id: str,
        *,
        owner: str | None,
        requested_by: str,
        last_event_id: int | None = None,
    ) -> str:
        """Do what is asked; harmless when it is so already.

        Args:
            control: What is asked.
            task_id: Of which task.
            owner: Whose it must be; None for anybody's.
            requested_by: Who asks.
            last_event_id: The last event the caller has seen: act only if the task has not turned
                since, that is ended, or moved to another state.

        Returns:
            The status the task has now.

        Raises:
            TaskNotFound: There is none, or it is somebody else's.
            TaskConflict: Its state forbids it, or it has turned since `last_event_id`.
            CursorBeyondEnd: Its log is shorter than `last_event_id`.
            LimitExceeded: It would be one unfinished task too many.
            Overloaded: As many tasks wait as may wait, and this would be one more.
        """
        most = self._settings.max_queued_tasks
        full = self._worker.queued >= most and not self._worker.has_room
        call = Call(
            control=control,
            task_id=task_id,
            owner=owner,
            requested_by=requested_by,
            last_event_id=last_event_id,
            now=self._clock.wall_ms(),
            grace_ms=int(self._settings.cancel_grace_seconds * 1000),
            quotas=self._quotas,
            max_queued=most if full else None,
        )
        done: Controlled = await self._writer.submit(
            partial(controls.control, call=call), partial(self._follow, call), rows=3
        )
        logger.info(
            "task controlled",
            extra={
                "task_id": task_id,
                "control": control,
                "status": done.status,
                "by": requested_by,
            },
        )
        return done.status

    def close(self) -> None:
        """Watch over no deadline any more; the next start ends what is left."""
        for timer in self._overdue.values():
            timer.cancel()
        self._overdue.clear()

    def _follow(self, call: Call, done: Controlled) -> None:
        """What follows the commit; runs on the loop right after it."""
        if done.ended is not None:
            self._worker.publish_end(done.ended)
        elif done.appended is not None:
            self._channels.publish(done.appended)
        if done.status == TaskStatus.PAUSED:
            self._worker.withdraw(done.id)
        if done.order is not None:
            self._worker.tell(done.id, done.order)
        if done.order == "cancel":
            self._watch(done, call.now + call.grace_ms)
        if done.queued is not None:
            self._worker.offer(Delivery(*done.queued))

    def _watch(self, cancelled: Controlled, deadline: int) -> None:
        """Come back once a cancel is overdue. The loop's clock counts: wall time may jump."""
        if (earlier := self._overdue.pop(cancelled.id, None)) is not None:
            earlier.cancel()  # it was cancelled, ended, retried, and is cancelled again
        seconds = self._settings.cancel_grace_seconds + OVERDUE_SECONDS
        self._overdue[cancelled.id] = asyncio.get_running_loop().call_later(
            seconds, self._close_overdue, cancelled, deadline
        )

    def _close_overdue(self, cancelled: Controlled, deadline: int) -> None:
        del self._overdue[cancelled.id]

        def closed(ended: Ended | None) -> None:
            if ended is not None:
                logger.warning("cancel overdue", extra={"task_id": cancelled.task_id})
                self._worker.publish_end(ended)
                self._worker.tell(cancelled.id, "lost")

        close = partial(
            recovery.close_overdue, id=cancelled.id, deadline=deadline, now=self._clock.wall_ms()
        )
        self._writer.post(close, closed, _not_closed, rows=3, waits=True)


def _not_closed(error: BaseException) -> None:
    logger.error("an overdue cancel could not be ended, the next start does: %s", error)
