"""Sharing a task: its owner says who may read it."""

from __future__ import annotations

from api.bodies import parse_body, read_json
from api.endpoint import Call
from api.schemas import ShareRequest


async def show(call: Call) -> None:
    """`GET /api/tasks/{id}/shares`: whom the task is shared with, for its owner."""
    task_id = call.path("task_id")
    found = await call.components.service.sharing.subjects(task_id, owner=call.owner)
    subjects = "everyone" if found is None else found
    await call.answer({"taskId": task_id, "subjects": subjects})


async def replace(call: Call) -> None:
    """`PUT /api/tasks/{id}/shares`: these may read the task, and nobody else beside its owner."""
    body = await read_json(
        call.scope, call.receive, max_bytes=call.components.settings.max_body_bytes
    )
    request = parse_body(ShareRequest, body)
    everyone = request.subjects == "everyone"
    await call.components.service.sharing.share(
        call.path("task_id"), owner=call.owner,
        subjects=() if everyone else request.subjects, everyone=everyone,
    )  # fmt: skip
    await show(call)
