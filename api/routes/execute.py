"""Submitting: the answer of the POST is the stream, the snapshot, or where to look."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from api.bodies import parse_task_request, read_json
from api.endpoint import Call
from api.errors import ApiError, Header, InvalidLastEventId
from api.headers import header_values, parse_cursor, parse_idempotency_key, parse_prefer
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.submitting import Submission
from orchestrator.tasks import body_hash


class CursorWithoutKey(InvalidLastEventId):
    """Raised when a POST has a cursor and nothing that tells whose."""

    def __init__(self) -> None:
        ApiError.__init__(
            self,
            "Last-Event-ID on a POST needs the Idempotency-Key the task was started with; "
            "without one read GET /api/tasks/{taskId}/stream.",
        )


async def stream(call: Call) -> None:
    """`POST /api/agents/execute/stream`: start a task, or attach to the one its key names."""
    streams = call.components.streams
    with streams.place(call.principal.subject) as place:
        submission, after = await _submit(call, attach=True, admit=place.take)
        reader = submission.reader
        if reader is None:
            raise RuntimeError("a submission that attaches has a reader")
        headers = _headers(call, submission)
        if after is not None and reader.ended:
            reader.close()
            await call.answer_nothing(headers=headers)
            return
        place.keep()
        await streams.serve(call, task_id=submission.task_id, reader=reader, headers=headers)


async def execute(call: Call) -> None:
    """`POST /api/agents/execute`: start a task and answer when it ended, or as preferred."""
    prefer = parse_prefer(header_values(call.headers, b"prefer"))
    submission, _ = await _submit(call, attach=True)
    reader = submission.reader
    if reader is None:
        raise RuntimeError("a submission that attaches has a reader")
    headers = _headers(call, submission)
    try:
        if prefer.respond_async:
            headers.append((b"preference-applied", b"respond-async"))
            ended = False
        else:
            ended = await _ended(call, reader, prefer.wait_seconds)
        if ended:  # while the reader is there: with a retention of 0 the task goes with it
            snapshot = await call.components.service.snapshot(submission.task_id, owner=call.owner)
    finally:
        reader.close()
    if ended:
        await call.answer(snapshot, headers=headers)
    else:  # not yet, or the server goes down first: the task goes on without this caller
        task = await call.components.service.find(submission.task_id, owner=call.owner)
        await _accepted(call, task.task_id, task.status, headers)


async def submit(call: Call) -> None:
    """`POST /api/tasks`: start a task and answer at once."""
    submission, _ = await _submit(call, attach=False)
    await _accepted(call, submission.task_id, submission.status, _headers(call, submission))


async def agents(call: Call) -> None:
    """`GET /api/agents`: who can be selected."""
    entries = [registration.listed() for registration in call.components.service.registry]
    modes = ["sequential", "parallel", "graph"]
    await call.answer({"agents": entries, "executionModes": modes, "providers": []})


async def _submit(
    call: Call, *, attach: bool, admit: Callable[[], None] = lambda: None
) -> tuple[Submission, int | None]:
    """Parse, store, and find a repeat; also the cursor that came with it."""
    key = parse_idempotency_key(header_values(call.headers, b"idempotency-key"))
    after = parse_cursor(header_values(call.headers, b"last-event-id"))
    body = await read_json(
        call.scope, call.receive, max_bytes=call.components.settings.max_body_bytes
    )
    request = parse_task_request(body)
    if after is not None and key is None:
        raise CursorWithoutKey
    submission = await call.components.service.submit(
        request,
        owner=call.principal.subject,
        idempotency_key=key,
        body_hash=None if key is None else body_hash(body),
        attach=attach,
        after=after,
        admit=admit,
    )
    return submission, after


def _headers(call: Call, submission: Submission) -> list[Header]:
    headers = [
        (b"x-task-id", submission.task_id.encode()),
        (b"location", call.url(f"/api/tasks/{submission.task_id}").encode()),
    ]
    if submission.replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return headers


async def _accepted(call: Call, task_id: str, status: str, headers: list[Header]) -> None:
    body = {
        "taskId": task_id,
        "streamUrl": call.url(f"/api/tasks/{task_id}/stream"),
        "status": status,
    }
    await call.answer(body, status=202, headers=headers)


async def _ended(call: Call, reader: Reader, seconds: int | None) -> bool:
    """Wait for the task's end; False when the time is over, the client or the server goes."""
    reading = asyncio.ensure_future(_read(reader))
    others = (_disconnected(call), call.components.streams.wait_closed())
    waiting = {reading, *map(asyncio.ensure_future, others)}
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return reading.done() and reading.exception() is None
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.wait(waiting)


async def _read(reader: Reader) -> None:
    while await reader.next() is not None:
        pass


async def _disconnected(call: Call) -> None:
    while (await call.receive())["type"] != "http.disconnect":
        pass
