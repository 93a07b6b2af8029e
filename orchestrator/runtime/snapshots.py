"""Snapshots: what a task is now, as JSON, under the names of the wire."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import orjson

from orchestrator.clock import iso
from orchestrator.controls import Standing, actions
from orchestrator.runtime.history import AgentFold, fold
from orchestrator.store import agent_runs, artifacts, dependencies
from orchestrator.store.database import Session
from orchestrator.store.tables import AgentRun, Artifact, Task
from orchestrator.tasks import END_STATES, AgentStatus, TaskStatus

_OPTIONS = frozenset(
    {
        "after", "budget", "dependsOn", "maxParallel", "onAgentError", "onRestart",
        "timeoutSeconds",
    }
)  # fmt: skip
"""What else was asked for, so that a task can be run again as it was."""


def snapshot(session: Session, task: Task, *, silent: Container[int]) -> dict[str, Any]:
    """The whole snapshot of a task, texts included, folded up to its `lastEventId`.

    Args:
        session: The read transaction in which `task` was read.
        task: The task.
        silent: `task.id` of tasks that have said nothing for too long.
    """
    folds, last_seq = fold(session, task.id)
    runs = agent_runs.of_task(session, task.id)
    files = artifacts.of_task(session, task.id)
    agents = [
        _agent(info, task, runs, folds.get(info["agentRole"]), files)
        for info in orjson.loads(task.agents)
    ]
    request = orjson.loads(task.request)
    inputs = {"inputs": request["inputs"]} if "inputs" in request else {}
    options = {name: value for name, value in request.items() if name in _OPTIONS}
    return summary(session, task, agents, silent=silent) | {
        **inputs,
        **({"options": options} if options else {}),
        "lastEventId": last_seq,
        "agents": agents,
    }


def listed(
    session: Session, task: Task, runs: Sequence[AgentRun], *, silent: Container[int]
) -> dict[str, Any]:
    """The entry of a task in a list: the snapshot without texts."""
    agents = [info | _state(info["agentRole"], task, runs) for info in orjson.loads(task.agents)]
    return summary(session, task, agents, silent=silent) | {
        "lastEventId": task.last_seq,
        "agents": agents,
    }


def summary(
    session: Session, task: Task, agents: Sequence[dict[str, Any]], *, silent: Container[int]
) -> dict[str, Any]:
    """What is said of a task itself."""
    request = orjson.loads(task.request)
    fields: dict[str, Any] = {
        "taskId": task.task_id,
        "owner": task.owner,
        "title": task.title,
        "description": task.description,
        "status": task.status,
        "executionMode": request.get("executionMode", "sequential"),
        "selectedAgents": request["selectedAgents"],
        "provider": request.get("provider"),
        "metadata": task.labels or None,
        "jobType": task.job_type,
        "triggerSource": task.trigger_source,
        "priority": task.priority,
        "progress": _mean([_progress(agent) for agent in agents]),
        "itemsDone": sum(agent.pop("itemsDone", 0) for agent in agents),
        "itemsFailed": sum(agent.pop("itemsFailed", 0) for agent in agents),
        "createdAt": iso(task.created),
        "startedAt": _time(task.started),
        "endedAt": _time(task.ended),
        "activeTime": task.active_ms,
        "queueTime": task.queue_ms,
        "totalExecutionTime": task.active_ms if task.status in END_STATES else None,
        "stuck": task.status == TaskStatus.RUNNING and task.id in silent,
        "archived": task.archived,
        "error": task.error,
        "code": task.code,
        "usage": None if task.usage is None else orjson.loads(task.usage),
        "actions": actions(_standing(session, task)),
    }
    return {name: value for name, value in fields.items() if value is not None}


def read_only(entry: dict[str, Any]) -> dict[str, Any]:
    """A snapshot or an entry of a list for somebody with whom the task is only shared."""
    refused = {
        "allowed": False,
        "reason": "The task is shared with you to read; only its owner may do this.",
    }
    return entry | {"actions": dict.fromkeys(entry["actions"], refused)}


def _standing(session: Session, task: Task) -> Standing:
    blocked = None
    if task.ended is not None:
        driver = session.connection().connection
        blocked = dependencies.outlook(driver, task.owner, task.started, task.request).blocked
    return Standing(TaskStatus(task.status), task.control, task.agents_failed, blocked)


def _agent(
    info: dict[str, Any],
    task: Task,
    runs: Sequence[AgentRun],
    folded: AgentFold | None,
    files: Sequence[Artifact],
) -> dict[str, Any]:
    """An agent with its texts, output and files."""
    role = info["agentRole"]
    state = _state(role, task, runs)
    fields: dict[str, Any] = {**info, "content": folded.text if folded else "", **state}
    if folded is not None:
        fields["message"] = folded.message
        fields["itemsDone"], fields["itemsFailed"] = folded.items_done, folded.items_failed
        fields["progress"] = state.get("progress", folded.progress)
        if state["status"] == AgentStatus.RUNNING:
            fields["etaSeconds"] = folded.eta_seconds
    last = last_run(role, runs)
    if last is not None and last.output is not None:
        fields["output"] = orjson.loads(last.output)
    saved = [
        {"name": a.name, "mediaType": a.media_type, "size": a.size} for a in files if a.role == role
    ]
    fields |= {"hasArtifacts": bool(saved), "artifacts": saved}
    return {name: value for name, value in fields.items() if value is not None}


def _state(role: str, task: Task, runs: Sequence[AgentRun]) -> dict[str, Any]:
    """How an agent stands, without anything large."""
    run = last_run(role, runs)
    if run is None:
        ended = task.status in END_STATES
        return {"status": AgentStatus.SKIPPED if ended else AgentStatus.PENDING, "attempt": 0}
    fields = {
        "status": run.status,
        "attempt": run.attempt,
        "startedAt": iso(run.started),
        "endedAt": _time(run.ended),
        "executionTime": run.execution_ms,
        "progress": 1.0 if run.status == AgentStatus.COMPLETED else None,
        "error": run.error,
        "code": run.code,
        "usage": None if run.usage is None else orjson.loads(run.usage),
    }
    if run.will_retry and task.status not in END_STATES:
        fields["status"] = AgentStatus.PENDING
    return {name: value for name, value in fields.items() if value is not None}


def last_run(role: str, runs: Sequence[AgentRun]) -> AgentRun | None:
    """The newest attempt of an agent, if there is one."""
    return next((run for run in reversed(runs) if run.role == role), None)


def _progress(agent: dict[str, Any]) -> float:
    return float(agent.get("progress", 0.0))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0


def _time(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
