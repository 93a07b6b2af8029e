"""Poststream's orchestrator: runs teams of agents and reports every step as a typed event.

    from orchestrator import AgentRegistry, Orchestrator, TaskRequest

    result = await Orchestrator(registry).execute_task(request, print)

It needs no database and no server; `orchestrator.runtime.service` adds the log that outlives both.
"""

from __future__ import annotations

from orchestrator.agents import Agent as Agent
from orchestrator.agents import AgentContext as AgentContext
from orchestrator.agents import AgentOptions as AgentOptions
from orchestrator.agents import AgentOutput as AgentOutput
from orchestrator.agents import AgentRegistry as AgentRegistry
from orchestrator.agents import AgentResult as AgentResult
from orchestrator.errors import AgentError as AgentError
from orchestrator.errors import PoststreamError as PoststreamError
from orchestrator.events import AgentComplete as AgentComplete
from orchestrator.events import AgentFailed as AgentFailed
from orchestrator.events import AgentProgress as AgentProgress
from orchestrator.events import AgentStart as AgentStart
from orchestrator.events import Event as Event
from orchestrator.events import TaskComplete as TaskComplete
from orchestrator.events import TaskCreated as TaskCreated
from orchestrator.events import TaskFailed as TaskFailed
from orchestrator.events import TaskState as TaskState
from orchestrator.events import Usage as Usage
from orchestrator.orchestrator import Orchestrator as Orchestrator
from orchestrator.orchestrator import TaskResult as TaskResult
from orchestrator.progress import ProgressCallback as ProgressCallback
from orchestrator.tasks import TaskRequest as TaskRequest
from orchestrator.tasks import TaskStatus as TaskStatus

__version__ = "0.1.0"

__all__ = (
    "Agent",
    "AgentComplete",
    "AgentContext",
    "AgentError",
    "AgentFailed",
    "AgentOptions",
    "AgentOutput",
    "AgentProgress",
    "AgentRegistry",
    "AgentResult",
    "AgentStart",
    "Event",
    "Orchestrator",
    "PoststreamError",
    "ProgressCallback",
    "TaskComplete",
    "TaskCreated",
    "TaskFailed",
    "TaskRequest",
    "TaskResult",
    "TaskState",
    "TaskStatus",
    "Usage",
)
