"""Milestones: the events with which a task and each of its attempts begin, and a task ends."""

from __future__ import annotations

from typing import Any

from orchestrator.agents import AgentRegistry, Registration, Team
from orchestrator.events import Draft
from orchestrator.outcomes import RunResult
from orchestrator.tasks import TaskRequest, TaskStatus


def created_event(team: Team, request: TaskRequest, at_ms: int) -> Draft:
    """The first event of a task, whose agents are this team."""
    fields = {
        "title": request.shown_title,
        "selectedAgents": request.selected_agents,
        "executionMode": request.mode,
        "agents": team.infos,
    }
    return Draft("task_created", fields, at_ms)


def first_starts(registry: AgentRegistry, request: TaskRequest, at_ms: int) -> list[Draft]:
    """`agent_start` of the agents a new task begins with."""
    roles = request.plan.ready((), (), ())
    return [start_event(registry[role], 1, at_ms) for role in roles]


def start_event(registration: Registration, attempt: int, at_ms: int) -> Draft:
    """The first event of an attempt."""
    fields = {
        "agentRole": registration.agent.role,
        "attempt": attempt,
        "agentName": registration.agent.name,
        "agentDescription": registration.agent.description,
    }
    return Draft("agent_start", fields, at_ms)


def terminal_event(result: RunResult, active_ms: int, at_ms: int) -> Draft:
    """The last event of a task whose run ended with this result."""
    if result.status == TaskStatus.COMPLETED:
        fields: dict[str, Any] = {
            "totalExecutionTime": active_ms,
            "outputs": len(result.outputs),
            "failedAgents": list(result.failed),
        }
        if result.usage is not None:
            fields["usage"] = result.usage.model_dump(by_alias=True)
        return Draft("task_complete", fields, at_ms)
    fields = {
        "status": result.status.value,
        "error": result.error,
        "code": result.code,
        "totalExecutionTime": active_ms,
    }
    if result.not_stopped:
        fields["notStopped"] = list(result.not_stopped)
    return Draft("task_error", fields, at_ms)
