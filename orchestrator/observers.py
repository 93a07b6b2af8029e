"""Observers: who hears what a run does, beside the log of its task."""

from __future__ import annotations

from typing import Protocol

from orchestrator.agents import TaskInfo
from orchestrator.outcomes import Outcome


class RunObserver(Protocol):
    """Hears of attempts; must neither raise nor take long."""

    def attempt_began(self, task: TaskInfo, role: str, attempt: int) -> None:
        """An attempt of an agent begins."""

    def attempt_ended(
        self, task: TaskInfo, role: str, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """It has ended, and its end is stored or will be with the end of the task."""
