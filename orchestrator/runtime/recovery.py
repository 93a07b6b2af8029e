"""Recovery: what a start makes of the tasks a dead process left.

`queued`, `paused` and `waiting` stay. `running` goes back into the queue or fails, `pausing`
becomes `paused`, `cancelling` becomes `cancelled`. Open attempts are closed first, in the same
transaction; agents that are finished never run again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import orjson

from orchestrator.clock import Clock
from orchestrator.processes import (
    ProcessGroup,
    attempt_marker,
    kill_marked,
    kill_process_group,
)  # fmt: skip
from orchestrator.settings import RuntimeSettings
from orchestrator.store import artifacts, recovery
from orchestrator.store.database import Connection
from orchestrator.store.events import Appended
from orchestrator.store.recovery import Lost, Waiting
from orchestrator.store.tasks import Ended
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskStatus

logger = logging.getLogger(__name__)


async def recover(
    writer: Writer,
    settings: RuntimeSettings,
    clock: Clock,
    *,
    tell: Callable[[Lost, str], None],
) -> list[Waiting]:
    """Bring every task into a state that needs no run.

    Args:
        writer: For every move.
        settings: What becomes of them.
        clock: For timestamps.
        tell: Called with each of them and the status it has now.

    Returns:
        The queued tasks that may start, oldest first.
    """
    await kill_left_overs(writer)
    await writer.submit(artifacts.remove_invisible)
    for lost in await writer.submit(recovery.find_lost):
        move = partial(move_lost, lost=lost, settings=settings, now=clock.wall_ms())
        moved = await writer.submit(move)
        status = lost.status if moved is None else moved.status
        logger.warning(
            "task recovered",
            extra={"task_id": lost.task_id, "from_status": lost.status, "to_status": status},
        )
        tell(lost, status)
    return await writer.submit(recovery.find_queued)


async def kill_left_overs(writer: Writer) -> None:
    """End the programs that commands of a dead process have left, in whatever group they are."""
    markers = []
    for left in await writer.submit(recovery.find_left_overs):
        group = ProcessGroup(left.group, left.started)
        markers.append(attempt_marker(left.task_id, left.role, left.attempt))
        if await asyncio.to_thread(kill_process_group, group, marker=markers[-1]):
            logger.warning(
                "killed what a dead server left",
                extra={"task_id": left.task_id, "agent": left.role, "process_group": left.group},
            )
    if markers and (killed := await asyncio.to_thread(kill_marked, markers)):
        logger.warning("killed what had left its process group", extra={"processes": killed})


Action = Literal["fail", "resume", "settings"]
"""What becomes of one that was running: it fails (`interrupted`), it goes back into the queue, or
what its request and the settings say."""


class Move(NamedTuple):
    """What became of a lost task."""

    status: str
    appended: Appended | None = None
    """What was added to its log, if it has not ended."""
    ended: Ended | None = None
    waiting: Waiting | None = None
    """How it waits now, if it is in the queue and may start."""


def move_lost(
    connection: Connection, *, lost: Lost, settings: RuntimeSettings, now: int,
    action: Action = "settings", dry_run: bool = False,
) -> Move | None:  # fmt: skip
    """Decide what becomes of a lost task, and store it; None when it has moved on by itself.

    One that was being cancelled ends cancelled whatever is asked.
    """
    if not recovery.is_lost(connection, lost):
        return None
    status, code, error = _decision(lost, settings, action, now)
    if dry_run:
        return Move(status)
    if status == TaskStatus.CANCELLED:
        return Move(status, ended=recovery.close_cancelled(connection, lost, now=now))
    if status == TaskStatus.FAILED:
        ended = recovery.close(connection, lost, error=error, code=code, now=now)
        return Move(status, ended=ended)
    appended = recovery.requeue(connection, lost, now=now)
    return Move(status, appended, waiting=recovery.find_waiting(connection, lost.id))


def _decision(
    lost: Lost, settings: RuntimeSettings, action: Action, now: int
) -> tuple[TaskStatus, str, str]:
    """The status a lost task gets, and why if it fails: code and error."""
    if lost.status == TaskStatus.CANCELLING:
        return TaskStatus.CANCELLED, "", ""
    if action == "fail":
        error = "The run of the task was lost, and the task was reset."
        return TaskStatus.FAILED, "interrupted", error
    if lost.status == TaskStatus.PAUSING:  # it runs again only if somebody wants it to
        return TaskStatus.PAUSED, "", ""
    if action == "settings" and lost.recoveries >= settings.recover_max_attempts:
        error = f"The server ended {lost.recoveries + 1} times while no agent finished in between."
        return TaskStatus.FAILED, "crash_loop", error
    if action == "settings" and not _goes_on(lost, settings, now):
        error = "The server ended while the task ran, and the task was not to go on."
        return TaskStatus.FAILED, "interrupted", error
    return TaskStatus.QUEUED, "", ""


def _goes_on(lost: Lost, settings: RuntimeSettings, now: int) -> bool:
    wanted = orjson.loads(lost.request).get("onRestart", settings.on_restart)
    oldest = settings.recover_max_age_seconds
    return wanted == "resume" and (oldest is None or now - lost.updated <= oldest * 1000)
