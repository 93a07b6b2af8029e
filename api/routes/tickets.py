"""Tickets for streams."""

from __future__ import annotations

from api.bodies import parse_body, read_json
from api.endpoint import Call
from api.schemas import TicketRequest
from orchestrator.clock import iso

TASK = "tasks/{task_id}"
"""What a ticket for the stream of a task opens."""
RUNNER_LOG = "runner-log"
"""What a ticket for the log of the worker loop opens."""


async def issue(call: Call) -> None:
    """`POST /api/stream-tickets`: a ticket for one stream, for some minutes."""
    body = await read_json(
        call.scope, call.receive, max_bytes=call.components.settings.max_body_bytes
    )
    request = parse_body(TicketRequest, body)
    opens = RUNNER_LOG
    if request.task_id is not None:
        await call.components.service.find(request.task_id, owner=call.owner, shared=True)
        opens = TASK.format(task_id=request.task_id)
    ticket = await call.components.tickets.issue(call.principal, opens)
    await call.answer({"ticket": ticket.text, "expiresAt": iso(ticket.expires_at_ms)}, status=201)
