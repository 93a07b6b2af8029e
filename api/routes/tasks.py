"""Reading, following and deleting tasks."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from api.endpoint import Call
from api.errors import InvalidParameter
from api.headers import parse_cursor, query_values, read_cursor
from api.routes.parameters import LAST_EVENT_ID, flag, refuse_others, statuses
from orchestrator.store.listing import TaskFilter
from orchestrator.tasks import END_STATES, TaskStatus

PAGE = 50
MAX_PAGE = 200  # a page is built in memory
MAX_EVENTS = 1000

_METADATA_KEY = re.compile(r'[^"\\\x00-\x1f\x7f]{1,64}')  # becomes a part of a JSON path

_PARAMETERS = frozenset(
    {"status", "agent", "q", "from", "to", "stuck", "scope", "limit", "cursor", "archived"}
)


async def index(call: Call) -> None:
    """`GET /api/tasks`: newest first, without texts."""
    limit = call.number("limit", default=PAGE, least=1, most=MAX_PAGE)
    cursor = call.parameter("cursor")
    before = None if cursor is None else call.number("cursor", default=0, least=1, most=10**18)
    entries, more = await call.components.service.list(
        _filter(call), stuck=flag(call, "stuck"), before=before, limit=limit
    )
    query = parse_qsl(call.scope["query_string"].decode("ascii", "replace"))
    await _page(call, entries, more, query)


async def active(call: Call) -> None:
    """`GET /api/tasks/active`: the caller's unfinished tasks; above a page the list goes on."""
    wanted = TaskFilter(owner=call.principal.subject, unfinished=True, archived=True)
    entries, more = await call.components.service.list(wanted, before=None, limit=MAX_PAGE)
    unfinished = ",".join(status for status in TaskStatus if status not in END_STATES)
    await _page(call, entries, more, [("status", unfinished)])


async def show(call: Call) -> None:
    """`GET /api/tasks/{id}`: the snapshot."""
    service = call.components.service
    found = await service.snapshot(call.path("task_id"), owner=call.owner, shared=True)
    await call.answer(found)


async def stream(call: Call) -> None:
    """`GET /api/tasks/{id}/stream`: everything after the cursor, then live."""
    after = read_cursor(call.headers, call.scope["query_string"]) or 0
    task_id, streams = call.path("task_id"), call.components.streams
    with streams.place(call.principal.subject) as place:
        place.take()
        reader = await call.components.service.attach(
            task_id, owner=call.owner, shared=True, after=after
        )
        if reader.ended:
            reader.close()
            await call.answer_nothing()
            return
        headers = [(b"x-task-id", task_id.encode())]
        await streams.serve(call, task_id=task_id, reader=reader, headers=headers)


async def events(call: Call) -> None:
    """`GET /api/tasks/{id}/events`: the log as a page of JSON."""
    after = parse_cursor(query_values(call.scope["query_string"], "after")) or 0
    limit = call.number("limit", default=MAX_EVENTS // 2, least=1, most=MAX_EVENTS)
    found, task = await call.components.service.events(
        call.path("task_id"), owner=call.owner, shared=True, after=after, limit=limit
    )
    # The stored text itself, so that a page of the log and the stream are the same bytes.
    page = ",".join(event.data for event in found)
    body = f'{{"taskId":"{task.task_id}","events":[{page}],"lastEventId":{task.last_seq}}}'
    headers = []
    if found and found[-1].seq < task.last_seq:
        path = call.url(f"/api/tasks/{task.task_id}/events")
        link = f"{path}?after={found[-1].seq}&limit={limit}"
        headers.append((b"link", f'<{link}>; rel="next"'.encode()))
    await call.answer(body.encode(), headers=headers)


async def delete(call: Call) -> None:
    """`DELETE /api/tasks/{id}`."""
    refuse_others(call, {LAST_EVENT_ID})
    await call.components.service.delete(
        call.path("task_id"), owner=call.owner, last_event_id=call.last_event_id
    )
    await call.answer_nothing()


def _filter(call: Call) -> TaskFilter:
    pairs = parse_qsl(call.scope["query_string"].decode("ascii", "replace"))
    metadata = {k.removeprefix("metadata."): v for k, v in pairs if k.startswith("metadata.")}
    for name, _ in pairs:
        if name not in _PARAMETERS and not name.startswith("metadata."):
            raise InvalidParameter(name[:40], "is none of this route's")
    if any(not _METADATA_KEY.fullmatch(key) for key in metadata):
        raise InvalidParameter("metadata.<key>", "has a key without quotes and control characters")
    owner, shared_with = _owner(call)
    return TaskFilter(
        owner=owner,
        shared_with=shared_with,
        statuses=statuses(call),
        agent=call.parameter("agent"),
        text=call.parameter("q"),
        created_from_ms=_time(call, "from"),
        created_to_ms=_time(call, "to"),
        archived=bool(flag(call, "archived")),
        metadata=metadata,
    )


def _owner(call: Call) -> tuple[str | None, str | None]:
    """Whose tasks to list, and whom they must be shared with."""
    scope = call.parameter("scope") or "mine"
    if scope == "mine":
        return call.principal.subject, None
    if scope == "shared":
        return None, call.principal.subject
    if scope == "all":
        call.principal.require("admin")
        return None, None
    raise InvalidParameter("scope", "is mine, shared or all")


def _time(call: Call, name: str) -> int | None:
    text = call.parameter(name)
    if text is None:
        return None
    try:
        # A "+" that was not escaped arrives as a blank.
        time = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise InvalidParameter(name, "is a time in ISO 8601, e.g. 2026-01-31T12:00:00Z") from None
    return int((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


async def _page(
    call: Call, entries: list[dict[str, Any]], more: int | None, query: list[tuple[str, str]]
) -> None:
    """Answer with a page; the next one is the list with this query behind the cursor `more`."""
    body: dict[str, Any] = {"tasks": entries}
    headers = []
    if more is not None:
        body["nextCursor"] = str(more)
        kept = [(name, value) for name, value in query if name != "cursor"]
        link = f"{call.url('/api/tasks')}?{urlencode([*kept, ('cursor', more)])}"
        headers.append((b"link", f'<{link}>; rel="next"'.encode()))
    await call.answer(body, headers=headers)
