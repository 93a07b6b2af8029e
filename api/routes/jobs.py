"""Jobs: the history of tasks, its figures, and what is done to old or lost ones."""

from __future__ import annotations

from typing import Any, cast

from api.auth import ADMIN
from api.bodies import parse_body, read_json, read_optional_json
from api.endpoint import Call
from api.routes.parameters import flag, mine_or_all, one_of, refuse_others, statuses
from api.schemas import CleanupRequest, ResetRequest
from orchestrator.runtime.job_stats import GroupBy
from orchestrator.store.listing import TaskFilter

PAGE = 50
MAX_PAGE = 200  # a page is built in memory
MAX_OFFSET = 10**9
MAX_DAYS = 3660
JOB_TYPES = ("manual", "scheduled", "api")

HISTORY = frozenset({"limit", "offset", "jobType", "status", "archived", "scope"})
STATS = frozenset({"days", "groupBy", "scope"})


async def history(call: Call) -> None:
    """`GET /api/jobs/history`: newest first, a job is there from its submission."""
    refuse_others(call, HISTORY)
    limit = call.number("limit", default=PAGE, least=1, most=MAX_PAGE)
    offset = call.number("offset", default=0, least=0, most=MAX_OFFSET)
    wanted = TaskFilter(
        owner=mine_or_all(call),
        statuses=statuses(call),
        job_type=one_of(call, "jobType", JOB_TYPES),
        archived=bool(flag(call, "archived")),
    )
    found, total = await call.components.service.house.jobs.history(
        wanted, offset=offset, limit=limit
    )
    await call.answer({"jobs": found, "totalCount": total, "limit": limit, "offset": offset})


async def stats(call: Call) -> None:
    """`GET /api/jobs/stats`: figures of the tasks created in the last days."""
    refuse_others(call, STATS)
    days = call.number("days", default=30, least=1, most=MAX_DAYS)
    group_by = one_of(call, "groupBy", ("agent", "day", "jobType")) or "day"
    jobs = call.components.service.house.jobs
    found = await jobs.stats(owner=mine_or_all(call), days=days, group_by=cast("GroupBy", group_by))
    await call.answer(found)


async def cleanup(call: Call) -> None:
    """`POST /api/jobs/cleanup`: archive or delete finished tasks, the caller's own or all."""
    request = parse_body(CleanupRequest, await _body(call))
    if request.all_owners:
        call.principal.require(ADMIN)
    done = await call.components.service.house.jobs.cleanup(
        request.mode,
        older_than_days=request.older_than_days,
        owner=None if request.all_owners else call.principal.subject,
    )
    await call.answer({"archived": done.archived, "deleted": done.deleted})


async def reset_state(call: Call) -> None:
    """`POST /api/agents/reset-state`: close tasks whose run is gone, never a live one."""
    body = await read_optional_json(
        call.scope, call.receive, max_bytes=call.components.settings.max_body_bytes
    )
    request = parse_body(ResetRequest, body)
    reset, skipped = await call.components.service.house.lost.reset(
        action=request.action,
        older_than_seconds=request.older_than_seconds,
        dry_run=request.dry_run,
    )
    entries = [
        {"taskId": r.task_id, "title": r.title, "from": r.from_status, "to": r.to_status}
        for r in reset
    ]
    await call.answer({"reset": entries, "skipped": skipped})


async def _body(call: Call) -> Any:
    return await read_json(
        call.scope, call.receive, max_bytes=call.components.settings.max_body_bytes
    )
