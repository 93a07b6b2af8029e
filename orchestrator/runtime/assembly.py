"""Puts a runtime together: the one place that knows all its parts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from orchestrator.agents import AgentRegistry
from orchestrator.clock import Clock
from orchestrator.errors import StorageError
from orchestrator.options import RunOptions
from orchestrator.progress import Limits
from orchestrator.runtime.alerts import Tell, tell_nobody
from orchestrator.runtime.channels import MAX_BYTES, Channels
from orchestrator.runtime.dispatch import InProcessDispatcher
from orchestrator.runtime.estimates import Estimates
from orchestrator.runtime.housekeeping import Housekeeping
from orchestrator.runtime.jobs import Jobs
from orchestrator.runtime.lost import LostTasks, Reset, take_over
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.recovery import Action, kill_left_overs
from orchestrator.runtime.removal import Removal
from orchestrator.runtime.retention import Retention
from orchestrator.runtime.runner import Runner
from orchestrator.runtime.runner_log import RunnerLog
from orchestrator.runtime.service import NODE, TaskService
from orchestrator.runtime.stuck import StuckWatch
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.runtime.worker import Worker
from orchestrator.settings import RuntimeSettings
from orchestrator.store import events, recovery
from orchestrator.store.database import Database
from orchestrator.store.events import FramePage
from orchestrator.store.migrations import migrate
from orchestrator.store.writer import Writer


@asynccontextmanager
async def open_service(
    settings: RuntimeSettings,
    registry: AgentRegistry,
    *,
    clock: Clock | None = None,
    redact: Callable[[str], str] = str,
    alert: Tell = tell_nobody,
    at: Callable[[str], None] = lambda _: None,
    on_fatal: Callable[[StorageError], None] = lambda _: None,
) -> AsyncIterator[TaskService]:
    """Open a runtime; leaving it drains for `DRAIN_SECONDS` and closes everything.

    Args:
        settings: Where and how much.
        registry: The agents.
        clock: Time and chance.
        redact: Replaces secrets in error texts.
        alert: Told of tasks that are stuck, fail or were recovered.
        at: Called at each crash point, for tests.
        on_fatal: Called when nothing can be stored any more; the process should exit with 1.

    Raises:
        StorageError: The database cannot be used.
    """
    path = settings.database_path
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = await asyncio.to_thread(Database, path)
    try:
        await asyncio.to_thread(migrate, database)
        writer = Writer(database, node=NODE, at=at, on_fatal=on_fatal)
        try:
            service = _assemble(
                settings, registry, database, writer, clock or Clock(), redact, alert
            )
            await service.start()
            watchdog = service.watchdog = Watchdog()
            try:
                yield service
            finally:  # whatever ended it, runs must not go on behind a closed database
                await service.drain(0 if service.draining else settings.drain_seconds)
                await service.runner.log.close()
                watchdog.close()
        finally:
            await writer.close()
    finally:
        database.close()


async def recover_offline(
    settings: RuntimeSettings, path: Path, *, action: Action, older_than_seconds: float,
    dry_run: bool,
) -> tuple[list[Reset], int]:  # fmt: skip
    """Take over the tasks that a dead process has left, without starting to run anything.

    Returns:
        The lost tasks, and how many were skipped because they were heard of in the meantime.

    Raises:
        StorageLocked: Another process works on the database.
    """
    clock = Clock()
    database = await asyncio.to_thread(Database, path)
    try:
        await asyncio.to_thread(migrate, database)
        writer = Writer(database, node=NODE)
        try:
            if not dry_run:
                await kill_left_overs(writer)
            lost = await writer.submit(recovery.find_lost)
            before_ms = clock.wall_ms() - older_than_seconds * 1000
            old = [task for task in lost if task.updated <= before_ms]
            done = await take_over(
                writer, old, settings=settings, clock=clock, action=action, dry_run=dry_run
            )
            return [entry for _, entry in done], len(lost) - len(done)
        finally:
            await writer.close()
    finally:
        database.close()


def _assemble(
    settings: RuntimeSettings, registry: AgentRegistry, database: Database, writer: Writer,
    clock: Clock, redact: Callable[[str], str], alert: Tell = tell_nobody,
) -> TaskService:  # fmt: skip
    clock.bind()
    limits = Limits(
        max_event_bytes=settings.max_event_bytes,
        max_agent_output_bytes=settings.max_agent_output_bytes,
        max_artifact_bytes=settings.max_artifact_bytes,
    )
    estimates = Estimates()
    log = RunnerLog(database, writer, clock, keep=settings.runner_log_lines)
    narrator = Narrator(log, clock, slots=settings.max_concurrent_tasks, alert=alert)
    options = RunOptions(
        registry=registry,
        clock=clock,
        limits=limits,
        cancel_grace_seconds=settings.cancel_grace_seconds,
        task_timeout_seconds=settings.task_timeout_seconds,
        redact=redact,
        observers=(narrator, estimates),
    )

    async def page(id: int, after: int) -> FramePage | None:
        read = partial(events.frame_page, id=id, after=after, max_bytes=MAX_BYTES)
        return await database.read_rows(read)

    channels = Channels(max_bytes=settings.channel_bytes, page=page)
    dispatcher = InProcessDispatcher(max_per_owner=settings.max_running_per_owner)
    worker = Worker(
        database, writer, channels, dispatcher, options, narrator, settings=settings, node=NODE
    )
    runner = Runner(
        worker, database, writer, channels, log, narrator,
        clock=clock, node=NODE, autostart=settings.runner_autostart,
    )  # fmt: skip
    removal = Removal(writer, channels, clock)
    retention = Retention(
        database, writer, channels, removal, narrator, clock=clock,
        days=settings.task_history_retention_days,
    )  # fmt: skip
    house = Housekeeping(
        narrator=narrator,
        estimates=estimates,
        runner=runner,
        stuck=StuckWatch(
            worker, database, narrator, clock=clock, action=settings.stuck_action,
            after_seconds=settings.stuck_after_seconds,
        ),
        removal=removal,
        retention=retention,
        jobs=Jobs(database, writer, retention, clock=clock, node=NODE),
        lost=LostTasks(writer, worker, channels, narrator, settings=settings, clock=clock),
    )  # fmt: skip
    return TaskService(database, writer, channels, worker, house, options, settings=settings)
