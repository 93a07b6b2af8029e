"""The whole HTTP surface: one table of paths, methods, handlers and scopes."""

from __future__ import annotations

from collections.abc import Callable

from starlette.routing import Route

from api.auth import ADMIN, EXECUTE, READ
from api.components import Components
from api.endpoint import Endpoint, Rule
from api.routes import (
    artifacts,
    controls,
    description,
    execute,
    export,
    health,
    jobs,
    legacy,
    metrics,
    page,
    runner,
    shares,
    tasks,
    tickets,
)

_STREAM = {"POST": Rule(execute.stream, EXECUTE, streams=True)}
_EXECUTE = {"POST": Rule(execute.execute, EXECUTE)}

ROUTES: dict[str, dict[str, Rule]] = {
    "/api/agents/execute/stream": _STREAM,
    "/api/agents/execute": _EXECUTE,
    "/execute/stream": _STREAM,
    "/execute": _EXECUTE,
    "/api/agents": {"GET": Rule(execute.agents, READ)},
    "/api/tasks": {"GET": Rule(tasks.index, READ), "POST": Rule(execute.submit, EXECUTE)},
    "/api/tasks/active": {"GET": Rule(tasks.active, READ)},
    "/api/tasks/{task_id}": {"GET": Rule(tasks.show, READ), "DELETE": Rule(tasks.delete, EXECUTE)},
    "/api/tasks/{task_id}/stream": {
        "GET": Rule(tasks.stream, READ, streams=True, ticket=tickets.TASK)
    },
    "/api/tasks/{task_id}/events": {"GET": Rule(tasks.events, READ)},
    "/api/tasks/{task_id}/export": {"GET": Rule(export.download, READ)},
    "/api/tasks/{task_id}/artifacts": {"GET": Rule(artifacts.index, READ)},
    "/api/tasks/{task_id}/artifacts/{role}/{name}": {"GET": Rule(artifacts.download, READ)},
    "/api/tasks/{task_id}/cancel": {"POST": Rule(controls.cancel, EXECUTE)},
    "/api/tasks/{task_id}/pause": {"POST": Rule(controls.pause, EXECUTE)},
    "/api/tasks/{task_id}/resume": {"POST": Rule(controls.resume, EXECUTE)},
    "/api/tasks/{task_id}/retry": {"POST": Rule(controls.retry, EXECUTE)},
    "/api/tasks/{task_id}/shares": {
        "GET": Rule(shares.show, READ, owned=True),
        "PUT": Rule(shares.replace, EXECUTE),
    },
    "/api/stream-tickets": {"POST": Rule(tickets.issue, READ)},
    "/api/jobs/history": {"GET": Rule(jobs.history, READ)},
    "/api/jobs/stats": {"GET": Rule(jobs.stats, READ)},
    "/api/jobs/cleanup": {"POST": Rule(jobs.cleanup, EXECUTE)},
    "/api/agents/reset-state": {"POST": Rule(jobs.reset_state, ADMIN)},
    "/api/task-runner/status": {"GET": Rule(runner.status, READ)},
    "/api/task-runner/start": {"POST": Rule(runner.start, ADMIN)},
    "/api/task-runner/stop": {"POST": Rule(runner.stop, ADMIN)},
    "/api/task-runner/clear-logs": {"POST": Rule(runner.clear_logs, ADMIN)},
    "/api/task-runner/logs": {
        "GET": Rule(runner.logs, READ, streams=True, ticket=tickets.RUNNER_LOG)
    },
    "/api/task-runner/logs-history": {"GET": Rule(runner.logs_history, READ)},
    "/openapi.json": {"GET": Rule(description.document, None)},
    "/docs": {"GET": Rule(description.page, None)},
    "/metrics": {"GET": Rule(metrics.show, ADMIN)},
    "/api/v2/agent/start": {"POST": Rule(legacy.start, EXECUTE)},
    "/api/v2/agent/active": {"GET": Rule(legacy.active, READ)},
    "/api/v2/agent/status/{task_id}": {"GET": Rule(legacy.status, READ)},
    "/api/v2/agent/stop": {"POST": Rule(legacy.stop, EXECUTE)},
    "/api/v2/jobs/history": {"GET": Rule(legacy.history, READ)},
    "/api/v2/jobs/cleanup": {"POST": Rule(legacy.cleanup, EXECUTE)},
    "/api/agent/reset-state": {"POST": Rule(legacy.reset_state, ADMIN)},
    "/healthz": {"GET": Rule(health.alive, None)},
    "/readyz": {"GET": Rule(health.ready, None)},
    **{path: {"GET": Rule(page.show, None)} for path in page.PATHS},
    page.ASSETS: {"GET": Rule(page.asset, None)},
}
"""Path → method → rule. A test holds README and the matrix of owners against it."""


def make_routes(components: Callable[[], Components]) -> list[Route]:
    """The routes, most used first."""
    return [Route(path, Endpoint(components, rules)) for path, rules in ROUTES.items()]
