"""The old names of this API, for callers that still use them: snake_case, five statuses.

Deprecated: nothing new comes here, and every answer says where the same is found today
(`Deprecation`, RFC 9745, and `Link`).
"""

from __future__ import annotations

from typing import Any

from api.bodies import parse_body, read_optional_json
from api.endpoint import Call
from api.errors import Header, InvalidParameter
from api.headers import header_values, parse_idempotency_key
from api.routes.jobs import JOB_TYPES, MAX_OFFSET, MAX_PAGE, PAGE
from api.routes.parameters import one_of, refuse_others
from api.schemas import LegacyCleanup, LegacyStart, LegacyStop
from orchestrator.errors import TaskNotFound
from orchestrator.store.listing import TaskFilter
from orchestrator.tasks import END_STATES, TaskRequest, TaskStatus, body_hash

DEPRECATED_SINCE = 1_764_547_200  # 2025-12-01
HISTORY = frozenset({"limit", "offset", "job_type", "status"})

STATUSES = {
    TaskStatus.QUEUED: "PENDING",
    TaskStatus.COMPLETED: "SUCCESS",
    TaskStatus.FAILED: "FAILURE",
    TaskStatus.TIMED_OUT: "FAILURE",
    TaskStatus.CANCELLED: "REVOKED",
}
"""Status → old status; PROGRESS for all others."""
WORDS = ("PENDING", "PROGRESS", "SUCCESS", "FAILURE", "REVOKED")


async def start(call: Call) -> None:
    """`POST /api/v2/agent/start`: `preferences` are the inputs; without agents, all of them."""
    body = await _body(call)
    asked = parse_body(LegacyStart, body)
    service = call.components.service
    available = [r.agent.role for r in service.registry if r.unavailable is None]
    fields = {
        "description": asked.description or "Run the agents",
        "title": asked.title,
        "selectedAgents": asked.selected_agents or available,
        "inputs": asked.preferences,
        "jobType": asked.job_type,
        "triggerSource": asked.trigger_source,
    }
    key = parse_idempotency_key(header_values(call.headers, b"idempotency-key"))
    submission = await service.submit(
        parse_body(TaskRequest, fields),
        owner=call.principal.subject,
        idempotency_key=key,
        body_hash=None if key is None else body_hash(body),
    )
    answer = {"task_id": submission.task_id, "status": old_status(submission.status)}
    await _answer(call, "/api/tasks", answer)


async def active(call: Call) -> None:
    """`GET /api/v2/agent/active`: the caller's newest unfinished task, if there is one."""
    task = await _newest(call)
    found = {"is_running": False} if task is None else {"is_running": True, "active_task": task}
    await _answer(call, "/api/tasks/active", found)


async def status(call: Call) -> None:
    """`GET /api/v2/agent/status/{task_id}`."""
    task_id = call.path("task_id")
    service = call.components.service
    snapshot = await service.snapshot(task_id, owner=call.owner, shared=True)
    await _answer(call, f"/api/tasks/{task_id}", old_task(snapshot))


async def stop(call: Call) -> None:
    """`POST /api/v2/agent/stop`: cancel a task; without `task_id` the newest unfinished one."""
    task_id = parse_body(LegacyStop, await _body(call)).task_id
    if task_id is None:
        newest = await _newest(call)
        if newest is None:
            raise TaskNotFound("")
        task_id = str(newest["task_id"])
    found = await call.components.service.cancel(
        task_id, owner=call.owner, requested_by=call.principal.subject
    )
    answer = {"task_id": task_id, "status": old_status(found)}
    await _answer(call, f"/api/tasks/{task_id}/cancel", answer)


async def history(call: Call) -> None:
    """`GET /api/v2/jobs/history`."""
    refuse_others(call, HISTORY)
    limit = call.number("limit", default=PAGE, least=1, most=MAX_PAGE)
    offset = call.number("offset", default=0, least=0, most=MAX_OFFSET)
    wanted = TaskFilter(
        owner=call.principal.subject,
        statuses=_statuses(call),
        job_type=one_of(call, "job_type", JOB_TYPES),
    )
    jobs, total = await call.components.service.house.jobs.history(
        wanted, offset=offset, limit=limit
    )
    page = {"total_count": total, "limit": limit, "offset": offset}
    await _answer(call, "/api/jobs/history", {"jobs": [old_job(job) for job in jobs], **page})


async def cleanup(call: Call) -> None:
    """`POST /api/v2/jobs/cleanup`: delete the caller's finished tasks older than some days."""
    asked = parse_body(LegacyCleanup, await _body(call))
    done = await call.components.service.house.jobs.cleanup(
        "delete", older_than_days=asked.days_to_keep, owner=call.principal.subject
    )
    await _answer(call, "/api/jobs/cleanup", {"cleaned_count": done.deleted})


async def reset_state(call: Call) -> None:
    """`POST /api/agent/reset-state`: close tasks whose run is gone."""
    reset, skipped = await call.components.service.house.lost.reset()
    answer = {"reset": [entry.task_id for entry in reset], "skipped": skipped}
    await _answer(call, "/api/agents/reset-state", answer)


def old_status(status: str) -> str:
    """PENDING, PROGRESS, SUCCESS, FAILURE or REVOKED."""
    return STATUSES.get(TaskStatus(status), "PROGRESS")


def old_task(found: dict[str, Any]) -> dict[str, Any]:
    """A snapshot or an entry of a list, under the old names."""
    running = [agent for agent in found["agents"] if agent["status"] == "running"]
    current = running[0] if running else {}
    ended = found["status"] in END_STATES
    fields = {
        "task_id": found["taskId"],
        "human_readable_name": found["title"],
        "status": old_status(found["status"]),
        "progress": round(found["progress"] * 100),  # was a percentage
        "current_phase_id": current.get("agentRole"),
        "current_phase_message": current.get("message"),
        "items_processed": found["itemsDone"],
        "items_failed": found["itemsFailed"],
        "execution_duration": duration(found["activeTime"]),
        "is_running": not ended,
        "is_active": not ended,
        "is_archived": found["archived"],
        "job_type": found["jobType"],
        "trigger_source": found.get("triggerSource"),
        "preferences": found.get("inputs"),
        "created_at": found["createdAt"],
        "started_at": found.get("startedAt"),
        "completed_at": found.get("endedAt"),
        "error_message": found.get("error"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def old_job(job: dict[str, Any]) -> dict[str, Any]:
    """A job of the history, under the old names."""
    metrics = job["performanceMetrics"]
    task = {
        "task_id": job["taskId"],
        "human_readable_name": job["title"],
        "status": old_status(job["status"]),
        "execution_duration": duration(metrics["totalExecutionTime"]),
        "is_archived": job["archived"],
    }
    fields = {
        "task_id": job["taskId"],
        "task": task,
        "job_type": job["jobType"],
        "trigger_source": job.get("triggerSource"),
        "created_at": job["createdAt"],
        "completed_at": job.get("endedAt"),
        "execution_summary": snake(job["executionSummary"]) | {"status": task["status"]},
        "phase_results": [snake(phase) for phase in job["phaseResults"]],
        "performance_metrics": snake(metrics),
        "user_preferences": job["userPreferences"].get("inputs", {}),
        "system_info": job.get("systemInfo"),
    }
    return {name: value for name, value in fields.items() if value is not None}


def snake(fields: dict[str, Any]) -> dict[str, Any]:
    """Fields of ours in snake_case; values that are no fields of ours stay as they are."""
    names = {name: "".join(f"_{c.lower()}" if c.isupper() else c for c in name) for name in fields}
    return {names[name]: value for name, value in fields.items()}


def duration(ms: int) -> str:
    """Milliseconds as ``H:MM:SS``."""
    minutes, seconds = divmod(ms // 1000, 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d}"


async def _newest(call: Call) -> dict[str, Any] | None:
    wanted = TaskFilter(owner=call.principal.subject, unfinished=True, archived=True)
    found, _ = await call.components.service.list(wanted, before=None, limit=1)
    return old_task(found[0]) if found else None


def _statuses(call: Call) -> frozenset[TaskStatus]:
    word = call.parameter("status")
    if word is None:
        return frozenset()
    if word not in WORDS:
        raise InvalidParameter("status", f"is one of {', '.join(WORDS)}")
    return frozenset(status for status in TaskStatus if old_status(status) == word)


async def _body(call: Call) -> Any:
    most = call.components.settings.max_body_bytes
    return await read_optional_json(call.scope, call.receive, max_bytes=most)


async def _answer(call: Call, successor: str, fields: dict[str, Any]) -> None:
    link = f'<{call.url(successor)}>; rel="successor-version"'
    headers: list[Header] = [
        (b"deprecation", b"@%d" % DEPRECATED_SINCE),
        (b"link", link.encode()),
    ]
    await call.answer({"success": True, **fields}, headers=headers)
