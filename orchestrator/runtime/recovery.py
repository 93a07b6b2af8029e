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

import orjson

from orchestrator.clock import Clock
from orchestrator.processes import ProcessGroup, attempt_marker, kill_process_group
from orchestrator.settings import RuntimeSettings
from orchestrator.store import artifacts, recovery
from orchestrator.store.database import Connection
from orchestrator.store.recovery import Lost, Waiting
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
    left_overs = await writer.submit(recovery.find_left_overs)
    for left in left_overs:
        group = ProcessGroup(left.group, left.started)
        marker = attempt_marker(left.task_id, left.role, left.attempt)
        if await asyncio.to_thread(kill_process_group, group, marker=marker):
            logger.warning(
                "killed what a dead server left",
                extra={"task_id": left.task_id, "agent": left.role, "process_group": left.group},
            )
    await writer.submit(artifacts.remove_invisible)
    for lost in await writer.submit(recovery.find_lost):
        move = partial(_recover, lost=lost, settings=settings, now=clock.wall_ms())
        status = await writer.submit(move)
        logger.warning(
            "task recovered",
            extra={"task_id": lost.task_id, "from_status": lost.status, "to_status": status},
        )
        tell(lost, status)
    return await writer.submit(recovery.find_queued)


def _recover(connection: Connection, *, lost: Lost, settings: RuntimeSettings, now: int) -> str:
    """Decide and store; returns the new status."""
    if lost.status == TaskStatus.CANCELLING:
        return recovery.close_cancelled(connection, lost, now=now).own.status
    if lost.status == TaskStatus.PAUSING:  # it runs again only if somebody wants it to
        return recovery.requeue(connection, lost, now=now).status
    if lost.recoveries >= settings.recover_max_attempts:
        error = f"The server ended {lost.recoveries + 1} times while no agent finished in between."
        ended = recovery.close(connection, lost, error=error, code="crash_loop", now=now)
        return ended.own.status
    if not _goes_on(lost, settings, now):
        error = "The server ended while the task ran, and the task was not to go on."
        ended = recovery.close(connection, lost, error=error, code="interrupted", now=now)
        return ended.own.status
    return recovery.requeue(connection, lost, now=now).status


def _goes_on(lost: Lost, settings: RuntimeSettings, now: int) -> bool:
    wanted = orjson.loads(lost.request).get("onRestart", settings.on_restart)
    oldest = settings.recover_max_age_seconds
    return wanted == "resume" and (oldest is None or now - lost.updated <= oldest * 1000)
