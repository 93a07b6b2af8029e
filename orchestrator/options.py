"""Options of all runs of a process."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.agents import AgentRegistry
from orchestrator.clock import Clock
from orchestrator.observers import RunObserver
from orchestrator.progress import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The agents and how to treat them; the same for every run of a process."""

    registry: AgentRegistry
    clock: Clock
    limits: Limits
    cancel_grace_seconds: float
    """How long a stopped agent may take to end."""
    task_timeout_seconds: float | None
    """Active time of a task that names none; None for no limit."""
    redact: Callable[[str], str]
    """Replaces secrets in error texts."""
    observers: tuple[RunObserver, ...] = ()
    """Hear of every attempt, one after the other."""
