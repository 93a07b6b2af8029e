"""Vitals: what a runtime counts of itself, read when somebody asks and never before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.runtime.channels import Channels
from orchestrator.runtime.watchdog import Watchdog
from orchestrator.runtime.worker import Worker
from orchestrator.store import totals
from orchestrator.store.database import Database
from orchestrator.store.totals import Totals
from orchestrator.store.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Vitals:
    """How a runtime is at one moment."""

    tasks: Mapping[str, int]
    """Unfinished tasks by status."""
    running: int
    slots: int
    queued: int
    """Tasks that wait for a slot."""
    claiming: bool
    stragglers: int
    """Agents that run on after they were stopped."""
    readers: int
    """Cursors over logs."""
    channel_bytes: int
    """Events in memory."""
    commits: int
    """Since the start of the process."""
    loop_stalls: int
    """Since the start of the process."""
    stored: Totals
    database_bytes: int
    """Of the database file and its log."""


async def read_vitals(
    database: Database,
    writer: Writer,
    channels: Channels,
    worker: Worker,
    watchdog: Watchdog | None,
) -> Vitals:
    """Look at every part once.

    Raises:
        StorageError: The database could not be read.
    """
    by_status, stored = await database.read(totals.read)
    return Vitals(
        tasks=by_status,
        running=worker.running,
        slots=worker.slots,
        queued=worker.queued,
        claiming=worker.accepting,
        stragglers=len(worker.stragglers),
        readers=channels.readers,
        channel_bytes=channels.bytes,
        commits=writer.commits,
        loop_stalls=0 if watchdog is None else watchdog.times_stood,
        stored=stored,
        database_bytes=database.size,
    )
