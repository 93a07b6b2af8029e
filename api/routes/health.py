"""Health: alive, and ready for requests. Open to everybody, and telling nobody anything."""

from __future__ import annotations

from api.endpoint import Call
from orchestrator.errors import StorageError


async def alive(call: Call) -> None:
    """`GET /healthz`: the process answers."""
    await call.answer({"status": "ok"})


async def ready(call: Call) -> None:
    """`GET /readyz`: 503 while the database, the worker or a drain forbids new tasks."""
    service = call.components.service
    # Stopped is a state somebody chose: tasks are accepted and wait.
    claims = service.worker.accepting or service.runner.stopped
    checks = {"worker": "ok" if claims else "not claiming"}
    if service.draining:
        checks["worker"] = "draining"
    try:
        await service.counts()  # the schema was checked at start
        checks |= {"database": "ok", "migrations": "ok"}
    except StorageError:
        checks |= {"database": "failed"}
    ok = all(check == "ok" for check in checks.values())
    body = {"status": "ok" if ok else "unavailable", "checks": checks}
    await call.answer(body, status=200 if ok else 503)
