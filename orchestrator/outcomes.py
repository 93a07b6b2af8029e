"""Outcomes: why something is stopped, and how an attempt and a run end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orchestrator.agents import AgentOutput
from orchestrator.events import Usage
from orchestrator.tasks import TaskStatus

Stop = Literal[
    "cancel", "timeout", "attempt_timeout", "budget", "stuck", "pause", "hand_back", "lost"
]
"""Why something that runs is stopped. ``timeout`` is the task's, ``attempt_timeout`` the agent's
own; ``stuck``: nothing was heard of the task; ``lost``: the log takes no more of it."""

_NO_OUTPUT = AgentOutput()

INTERRUPTIONS: tuple[Stop, ...] = ("pause", "hand_back")
"""Stops after which an agent runs again, later or elsewhere."""


@dataclass(slots=True)  # not kw_only: matching names takes longer than all the rest of it
class Outcome:
    """How an attempt ended."""

    status: Literal["success", "error", "timeout", "cancelled"]
    output: AgentOutput = _NO_OUTPUT
    usage: Usage | None = None
    error: str = ""
    code: str = ""
    retryable: bool = False
    interrupted: bool = False
    """Whether it was stopped to be run again: that is no failure."""

    @property
    def delivered(self) -> bool:
        """Whether the agent did what it was asked."""
        return self.status == "success"


@dataclass(slots=True)
class RunResult:
    """How a run ended."""

    status: TaskStatus
    """An end state; `queued` or `paused` when the run was stopped to be continued later."""
    outputs: Mapping[str, AgentOutput]
    failed: Mapping[str, Outcome]
    """Last outcome of the agents that did not deliver."""
    code: str = ""
    error: str = ""
    usage: Usage | None = None
    not_stopped: tuple[str, ...] = ()
    """Agents that run on although they were told to stop."""
