"""The worker loop: how it is, its switch, and its log."""

from __future__ import annotations

from typing import Any

from api.endpoint import Call
from api.errors import InvalidParameter
from api.headers import header_values, parse_cursor, query_values
from api.routes.parameters import refuse_others
from orchestrator.clock import iso
from orchestrator.runtime.runner_log import as_wire

LOG_NAME = "runner log"  # what the server log calls its readers' task


async def status(call: Call) -> None:
    """`GET /api/task-runner/status`."""
    await call.answer(await _status(call))


async def start(call: Call) -> None:
    """`POST /api/task-runner/start`: claim tasks again; takes back a stop that is under way."""
    await call.components.service.runner.start(by=call.principal.subject)
    await call.answer({"message": "The worker loop runs.", **await _status(call)})


async def stop(call: Call) -> None:
    """`POST /api/task-runner/stop`: claim nothing more; `?mode=now` hands back what runs."""
    refuse_others(call, {"mode"})
    mode = call.parameter("mode") or "drain"
    if mode not in ("drain", "now"):
        raise InvalidParameter("mode", "is drain or now")
    await call.components.service.runner.stop(by=call.principal.subject, now=mode == "now")
    body = await _status(call)
    message = "The worker loop stops." if body["isRunning"] else "The worker loop is stopped."
    await call.answer({"message": message, **body})


async def clear_logs(call: Call) -> None:
    """`POST /api/task-runner/clear-logs`."""
    await call.components.service.runner.log.clear()
    await call.answer({"message": "The log is empty."})


async def logs_history(call: Call) -> None:
    """`GET /api/task-runner/logs-history`: all lines that are kept."""
    runner = call.components.service.runner
    lines = runner.log.newest(call.owner, limit=call.components.settings.runner_log_lines)
    running = runner.status.state != "stopped"
    await call.answer({"logs": as_wire(lines, call.owner), "isRunning": running})


async def logs(call: Call) -> None:
    """`GET /api/task-runner/logs`: the last 100 lines or those behind the cursor, then live."""
    after = parse_cursor(header_values(call.headers, b"last-event-id"))
    if after is None:
        after = parse_cursor(query_values(call.scope["query_string"], "after"))
    streams = call.components.streams
    with streams.place(call.principal.subject) as place:
        place.take()
        reader = call.components.service.runner.log.follow(call.owner, after=after)
        await streams.serve(call, task_id=LOG_NAME, reader=reader, headers=[])


async def _status(call: Call) -> dict[str, Any]:
    service = call.components.service
    found = service.runner.status
    body: dict[str, Any] = {
        "isRunning": found.state != "stopped",
        "state": found.state,
        "runningTasks": found.running,
        "queuedTasks": (await service.counts()).get("queued", 0),
        "slots": found.slots,
        "since": iso(found.since_ms),
    }
    if found.last_error:
        body["lastError"] = found.last_error
    return body
