"""Cancel, pause, resume and retry: 202 with the status the task has now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from api.endpoint import Call
from api.errors import InvalidParameter
from api.routes.parameters import LAST_EVENT_ID, refuse_others


async def cancel(call: Call) -> None:
    """`POST /api/tasks/{id}/cancel`."""
    await _control(call, call.components.service.cancel)


async def pause(call: Call) -> None:
    """`POST /api/tasks/{id}/pause`: between two agents, or with `?mode=now` at once."""
    mode = call.parameter("mode")
    if mode not in (None, "now"):
        raise InvalidParameter("mode", "is now, or absent to pause between two agents")
    await _control(call, call.components.service.pause, "mode", stop_now=mode == "now")


async def resume(call: Call) -> None:
    """`POST /api/tasks/{id}/resume`."""
    await _control(call, call.components.service.resume)


async def retry(call: Call) -> None:
    """`POST /api/tasks/{id}/retry`: run what did not complete, in the same task and log."""
    await _control(call, call.components.service.retry)


async def _control(
    call: Call, control: Callable[..., Awaitable[str]], *parameters: str, **options: Any
) -> None:
    refuse_others(call, {LAST_EVENT_ID, *parameters})
    task_id = call.path("task_id")
    status = await control(
        task_id, owner=call.owner, requested_by=call.principal.subject,
        last_event_id=call.last_event_id, **options,
    )  # fmt: skip
    await call.answer({"taskId": task_id, "status": status}, status=202)
