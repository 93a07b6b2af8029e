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


class NoObserver:
    """Nobody listens."""

    def attempt_began(self, task: TaskInfo, role: str, attempt: int) -> None:
        """Nothing happens."""

    def attempt_ended(
        self, task: TaskInfo, role: str, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """Nothing happens."""


class AllObservers:
    """Several who listen.

    Args:
        observers: Told one after the other.
    """

    def __init__(self, *observers: RunObserver) -> None:
        self._observers = observers

    def attempt_began(self, task: TaskInfo, role: str, attempt: int) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.attempt_began(task, role, attempt)

    def attempt_ended(
        self, task: TaskInfo, role: str, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """Tell all of them."""
        for observer in self._observers:
            observer.attempt_ended(task, role, attempt, outcome, seconds)


_conforms: type[RunObserver] = AllObservers
NOBODY: RunObserver = NoObserver()
