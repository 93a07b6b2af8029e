"""Snapshots: what a task is now, as JSON, under the names of the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from orchestrator.clock import iso
from orchestrator.runtime.history import AgentFold, fold
from orchestrator.store import agent_runs, artifacts
from orchestrator.store.database import Session
from orchestrator.store.tables import AgentRun, Artifact, Task
from orchestrator.tasks import END_STATES, AgentStatus, TaskStatus

CANCELLABLE = frozenset(TaskStatus) - END_STATES


def snapshot(session: Session, task: Task, *, stuck_before_ms: int) -> dict[str, Any]:
    """The whole snapshot of a task, texts included, folded up to its `lastEventId`.

    Args:
        session: The read transaction in which `task` was read.
        task: The task.
        stuck_before_ms: A running task without an event since then is stuck.
    """
    folds, last_seq = fold(session, task.id)
    runs = agent_runs.of_task(session, task.id)
    files = artifacts.of_task(session, task.id)
    agents = [
        _agent(info, task, runs, folds.get(info["agentRole"]), files)
        for info in orjson.loads(task.agents)
    ]
    return summary(task, agents, stuck_before_ms=stuck_before_ms) | {
        "lastEventId": last_seq,
        "inputs": orjson.loads(task.request).get("inputs", {}),
        "agents": agents,
    }


def listed(task: Task, runs: Sequence[AgentRun], *, stuck_before_ms: int) -> dict[str, Any]:
    """The entry of a task in a list: the snapshot without texts."""
    agents = [_agent(info, task, runs, None, ()) for info in orjson.loads(task.agents)]
    for agent in agents:
        for name in ("content", "output", "artifacts", "hasArtifacts"):
            agent.pop(name, None)
    return summary(task, agents, stuck_before_ms=stuck_before_ms) | {
        "lastEventId": task.last_seq,
        "agents": agents,
    }


def summary(
    task: Task, agents: Sequence[dict[str, Any]], *, stuck_before_ms: int
) -> dict[str, Any]:
    """What is said of a task itself."""
    request = orjson.loads(task.request)
    fields: dict[str, Any] = {
        "taskId": task.task_id,
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
        "stuck": task.status == TaskStatus.RUNNING and task.updated < stuck_before_ms,
        "archived": task.archived,
        "error": task.error,
        "code": task.code,
        "usage": None if task.usage is None else orjson.loads(task.usage),
        "actions": actions(TaskStatus(task.status)),
    }
    return {name: value for name, value in fields.items() if value is not None}


def actions(status: TaskStatus) -> dict[str, dict[str, Any]]:
    """What may be done with a task in this status, and why not."""
    ended = status in END_STATES
    cancel = None if not ended else f"The task is {status}."
    delete = None if ended else f"The task is {status}; cancel it first."
    return {"cancel": _action(cancel), "delete": _action(delete)}


def _action(reason: str | None) -> dict[str, Any]:
    return {"allowed": True} if reason is None else {"allowed": False, "reason": reason}


def _agent(
    info: dict[str, Any], task: Task, runs: Sequence[AgentRun], folded: AgentFold | None,
    files: Sequence[Artifact],
) -> dict[str, Any]:  # fmt: skip
    role = info["agentRole"]
    mine = [run for run in runs if run.role == role]
    last = mine[-1] if mine else None
    ended = task.status in END_STATES
    saved = [
        {"name": a.name, "mediaType": a.media_type, "size": a.size} for a in files if a.role == role
    ]
    fields: dict[str, Any] = {**info, "content": folded.text if folded else ""}
    if last is None:
        status = AgentStatus.SKIPPED if ended else AgentStatus.PENDING
        fields |= {"status": status, "attempt": 0}
    else:
        fields |= _attempt(last)
    if folded is not None:
        fields |= {"message": folded.message, "itemsDone": folded.items_done}
        fields |= {"itemsFailed": folded.items_failed, "progress": folded.progress}
        if last is not None and last.status == AgentStatus.RUNNING:
            fields["etaSeconds"] = folded.eta_seconds
    if fields["status"] == AgentStatus.COMPLETED:
        fields["progress"] = 1.0
    fields |= {"hasArtifacts": bool(saved), "artifacts": saved}
    return {name: value for name, value in fields.items() if value is not None}


def _attempt(run: AgentRun) -> dict[str, Any]:
    return {
        "status": run.status,
        "attempt": run.attempt,
        "startedAt": iso(run.started),
        "endedAt": _time(run.ended),
        "executionTime": run.execution_ms,
        "output": None if run.output is None else orjson.loads(run.output),
        "error": run.error,
        "code": run.code,
        "usage": None if run.usage is None else orjson.loads(run.usage),
    }


def _progress(agent: dict[str, Any]) -> float:
    if agent["status"] == AgentStatus.COMPLETED:
        return 1.0
    return float(agent.get("progress", 0.0))


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 4) if values else 0.0


def _time(ms: int | None) -> str | None:
    return None if ms is None else iso(ms)
