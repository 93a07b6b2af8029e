"""The page's own routes. This version has no page; it says so instead of looking broken."""

from __future__ import annotations

from api.endpoint import NO_STORE, NOSNIFF, Call

PATHS = ("/", "/login", "/history", "/worker", "/schedules", "/settings", "/tasks/{task_id}")

_TEXT = b"""Poststream is running. It has no page yet; the API is complete without one.

Start a task and watch it, with a token from `poststream token`:

    curl -N -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\
         -d '{"description": "...", "selectedAgents": ["..."]}' /api/agents/execute/stream

The README lists events and routes.
"""


async def missing(call: Call) -> None:
    """Any route of the page."""
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", b"%d" % len(_TEXT)),
        NOSNIFF,
        NO_STORE,
    ]
    await call.send({"type": "http.response.start", "status": 200, "headers": headers})
    await call.send({"type": "http.response.body", "body": _TEXT})
