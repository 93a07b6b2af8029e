"""Owners see nothing of each other: every route, every caller, running and finished tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from api.routes import ROUTES
from tests.e2e.client import Answer, Client, task
from tests.e2e.serving import caller, token
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

GHOST = "00000000-0000-4000-8000-000000000000"
TWO = task({"agent": "scripted-1", "texts": ["secret words"]}, title="secret title")
HANG = task({"agent": "scripted-1", "texts": ["secret words"], "outcome": "hang"})
FILES = {"selectedAgents": ["librarian"], "inputs": {"files": {"a.html": "secret words"}}}

OPEN, SUBMIT, LIST, TASK = "open", "submit", "list", "task"
MATRIX: dict[tuple[str, str], tuple[str, int, int]] = {
    # (method, path): (kind, its owner's answer while the task runs, … once it is finished)
    ("POST", "/api/agents/execute/stream"): (SUBMIT, 200, 200),
    ("POST", "/api/agents/execute"): (SUBMIT, 200, 200),
    ("POST", "/execute/stream"): (SUBMIT, 200, 200),
    ("POST", "/execute"): (SUBMIT, 200, 200),
    ("POST", "/api/tasks"): (SUBMIT, 202, 202),
    ("GET", "/api/agents"): (OPEN, 200, 200),
    ("GET", "/api/tasks"): (LIST, 200, 200),
    ("GET", "/api/tasks/active"): (LIST, 200, 200),
    ("GET", "/api/tasks/{task_id}"): (TASK, 200, 200),
    ("GET", "/api/tasks/{task_id}/stream"): (TASK, 200, 200),
    ("GET", "/api/tasks/{task_id}/events"): (TASK, 200, 200),
    ("GET", "/api/tasks/{task_id}/artifacts"): (TASK, 200, 200),
    ("GET", "/api/tasks/{task_id}/artifacts/{role}/{name}"): (TASK, 404, 200),
    ("POST", "/api/tasks/{task_id}/cancel"): (TASK, 202, 409),
    ("DELETE", "/api/tasks/{task_id}"): (TASK, 409, 204),
}
PUBLIC = {"/healthz", "/readyz", "/", "/login", "/history", "/worker", "/schedules", "/settings",
          "/tasks/{task_id}"}  # fmt: skip


def target(path: str, task_id: str) -> str:
    return path.format(task_id=task_id, role="librarian", name="a.html")


async def read(client: Client, method: str, path: str, body: Any = None) -> Answer:
    """An answer; of a stream only its beginning."""
    async with client.open(method, path, body) as response:
        if response.status == 200 and "event-stream" in str(response.header("content-type")):
            content = await response.read_until(lambda received: b"\n\n" in received)
        elif response.status == 204 or method == "HEAD":
            content = b""
        else:
            content = await response.read_to_end()
        return Answer(response.status, response.headers, content)


def test_every_route_has_a_row_in_the_matrix() -> None:
    rules = {(m, path): rule for path, table in ROUTES.items() for m, rule in table.items()}
    assert {pair for pair, rule in rules.items() if rule.scope is not None} == set(MATRIX)
    assert {path for (_, path), rule in rules.items() if rule.scope is None} == PUBLIC


@pytest.mark.parametrize("finished", [False, True])
async def test_a_task_of_somebody_else_is_answered_exactly_like_none(
    server: ServerProcess, alice: Client, finished: bool
) -> None:
    body = {"description": "secret words", **FILES} if finished else HANG
    bob = caller(server, f"bob {finished}")
    limited = {
        "tasks:read": caller(server, "eve", "tasks:execute"),
        "tasks:execute": caller(server, "eve", "tasks:read"),
    }
    task_id = await alice.submit(body)
    await alice.reaches(task_id, "completed" if finished else "running")
    for (method, path), (kind, while_running, once_finished) in MATRIX.items():
        if kind != TASK or method == "DELETE":
            continue
        own_status = once_finished if finished else while_running
        for verb in {method, "HEAD"} if method == "GET" and "stream" not in path else {method}:
            row = f"{verb} {path}"
            foreign = await read(bob, verb, target(path, task_id))
            ghost = await read(bob, verb, target(path, GHOST))
            assert (foreign.status, ghost.status) == (404, 404), row
            assert foreign.body == ghost.body, row
            assert _fields(foreign) == _fields(ghost), row
            assert b"secret" not in foreign.body
            own_ghost = await read(alice, verb, target(path, GHOST))
            assert own_ghost.status == 404, row
            assert own_ghost.body == ghost.body, row
            stranger = await read(Client(server.port), verb, target(path, task_id))
            assert stranger.status == 401, row
            scope = ROUTES[path][method].scope
            assert scope is not None
            assert (await read(limited[scope], verb, target(path, task_id))).status == 403, row
        if path.endswith("cancel") and not finished:
            continue  # its owner's turn comes at the end
        assert (await read(alice, method, target(path, task_id))).status == own_status, path
    assert await alice.status(task_id) == ("completed" if finished else "running")
    deletion = ("DELETE", f"/api/tasks/{task_id}")
    assert (await bob.call(*deletion)).status == 404
    assert (await Client(server.port).call(*deletion)).status == 401
    assert (await limited["tasks:execute"].call(*deletion)).status == 403
    if not finished:
        assert (await alice.call(*deletion)).status == 409
        assert (await alice.call("POST", f"/api/tasks/{task_id}/cancel")).status == 202
    else:
        assert (await alice.call(*deletion)).status == 204


def _fields(answer: Answer) -> dict[str, str]:
    return {name: v for name, v in answer.headers if name not in ("date", "x-request-id")}


async def test_lists_and_counts_hold_nothing_of_others(
    server: ServerProcess, alice: Client
) -> None:
    await alice.run(TWO)
    running = await alice.submit(HANG)
    carol = caller(server, "carol who has nothing")
    for query in ("", "?scope=mine", "?q=secret", "?status=running", "?agent=scripted-1",
                  "?archived=true", "?stuck=true", "?limit=200"):  # fmt: skip
        assert (await carol.get(f"/api/tasks{query}")) == {"tasks": []}, query
    assert (await carol.get("/api/tasks/active")) == {"tasks": []}
    for query in ("?user=alice", "?owner=alice", "?sub=alice", "?scope=all"):
        assert (await carol.call("GET", f"/api/tasks{query}")).status in (400, 403), query
    refused = await carol.call("POST", "/api/tasks", {**TWO, "after": [running]})
    ghost = await carol.call("POST", "/api/tasks", {**TWO, "after": [GHOST]})
    assert (refused.status, refused.body) == (422, ghost.body), "after tells nothing either"
    await alice.call("POST", f"/api/tasks/{running}/cancel")


async def test_no_route_answers_a_token_that_came_any_other_way(server: ServerProcess) -> None:
    good = token("dora")
    stranger = Client(server.port)
    for (method, path), (kind, _, _) in MATRIX.items():
        url = target(path, GHOST)
        body = TWO if kind == SUBMIT else None
        for headers in ([("Cookie", f"token={good}")], [("X-Authorization", f"Bearer {good}")],
                        [("Authorization", good)], [("Authorization", f"Basic {good}")],
                        [("Authorization", f"Token {good}")]):  # fmt: skip
            answer = await stranger.call(method, url, body, headers=headers)
            assert (answer.status, answer.slug) == (401, "unauthorized"), (path, headers)
            assert str(answer.header("www-authenticate")).startswith("Bearer")
        for name in ("token", "access_token", "jwt", "authorization"):
            answer = await stranger.call(method, f"{url}?{name}={good}", body)
            assert answer.status == 401, path
            with_both = await Client(server.port, good).call(method, f"{url}?{name}={good}", body)
            assert with_both.status == 401, path
    assert (await Client(server.port, good).get("/api/tasks")) == {"tasks": []}


async def test_admins_reach_the_tasks_of_everybody(server: ServerProcess, alice: Client) -> None:
    root = caller(server, "root", "admin")
    task_id = await alice.submit(HANG)
    assert (await root.get(f"/api/tasks/{task_id}"))["taskId"] == task_id
    assert (await root.call("POST", f"/api/tasks/{task_id}/cancel")).status == 202
    await alice.reaches(task_id, "cancelled")
    end = (await alice.log(task_id))[-1].data
    assert end["requestedBy"] == "root"


def test_the_log_of_the_server_holds_no_token_and_no_words_of_tasks(
    server: ServerProcess, tmp_path: Path
) -> None:
    assert "secret words" not in server.stderr
    assert "secret title" not in server.stderr
    assert "eyJ" not in server.stderr
