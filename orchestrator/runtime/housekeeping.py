"""Housekeeping: everything that goes on beside the runs, in one hand."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.runtime.estimates import Estimates
from orchestrator.runtime.jobs import Jobs
from orchestrator.runtime.lost import LostTasks
from orchestrator.runtime.narrator import Narrator
from orchestrator.runtime.removal import Removal
from orchestrator.runtime.retention import Retention
from orchestrator.runtime.runner import Runner
from orchestrator.runtime.stuck import StuckWatch
from orchestrator.store.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class Housekeeping:
    """The parts beside worker and service; see each."""

    narrator: Narrator
    estimates: Estimates
    runner: Runner
    stuck: StuckWatch
    removal: Removal
    retention: Retention
    jobs: Jobs
    lost: LostTasks

    async def load(self, database: Database) -> None:
        """Read what earlier processes have left for them."""
        await self.runner.log.load()
        await self.estimates.load(database)

    async def start(self) -> None:
        """Begin with what is done again and again."""
        await self.jobs.note_software()
        await self.removal.remove_marked()
        self.stuck.start()
        self.retention.start()

    def close(self) -> None:
        """End all of it: the process takes no new tasks."""
        self.runner.close()
        self.stuck.close()
        self.retention.close()
