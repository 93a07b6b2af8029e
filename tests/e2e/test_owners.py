"""Owners see nothing of each other: every route, every caller, running and finished tasks."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from api.routes import ROUTES, page, tickets
from tests.e2e.client import Answer, Client, task
from tests.e2e.serving import caller, token
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

GHOST = "00000000-0000-4000-8000-000000000000"
TWO = task({"agent": "scripted-1", "texts": ["secret words"]}, title="secret title")
HANG = task({"agent": "scripted-1", "texts": ["secret words"], "outcome": "hang"})
FILES = {"selectedAgents": ["librarian"], "inputs": {"files": {"a.html": "secret words"}}}

OPEN, SUBMIT, LIST, TASK, NAMED = "open", "submit", "list", "task", "named"
ADMIN = "admin"


class Row(NamedTuple):
    """What a route gives to whom."""

    kind: str
    """`TASK`: the task stands in the path; `NAMED`: in the body."""
    running: int
    """Its owner's answer while the task runs."""
    finished: int
    """… and once it is finished."""
    shared: bool = False
    """Whether those a task is shared with get the same; else they are refused (403)."""
    body: Any = None
    """`{}` in it stands for the task."""


MATRIX: dict[tuple[str, str], Row] = {
    ("POST", "/api/agents/execute/stream"): Row(SUBMIT, 200, 200),
    ("POST", "/api/agents/execute"): Row(SUBMIT, 200, 200),
    ("POST", "/execute/stream"): Row(SUBMIT, 200, 200),
    ("POST", "/execute"): Row(SUBMIT, 200, 200),
    ("POST", "/api/tasks"): Row(SUBMIT, 202, 202),
    ("GET", "/api/agents"): Row(OPEN, 200, 200),
    ("GET", "/api/tasks"): Row(LIST, 200, 200),
    ("GET", "/api/tasks/active"): Row(LIST, 200, 200),
    ("GET", "/api/tasks/{task_id}"): Row(TASK, 200, 200, shared=True),
    ("GET", "/api/tasks/{task_id}/stream"): Row(TASK, 200, 200, shared=True),
    ("GET", "/api/tasks/{task_id}/events"): Row(TASK, 200, 200, shared=True),
    ("GET", "/api/tasks/{task_id}/export"): Row(TASK, 200, 200, shared=True),
    ("GET", "/api/tasks/{task_id}/artifacts"): Row(TASK, 200, 200, shared=True),
    ("GET", "/api/tasks/{task_id}/artifacts/{role}/{name}"): Row(TASK, 404, 200, shared=True),
    ("POST", "/api/tasks/{task_id}/cancel"): Row(TASK, 202, 409),
    ("POST", "/api/tasks/{task_id}/pause"): Row(TASK, 202, 409),
    ("POST", "/api/tasks/{task_id}/resume"): Row(TASK, 202, 409),
    ("POST", "/api/tasks/{task_id}/retry"): Row(TASK, 409, 409),
    ("GET", "/api/tasks/{task_id}/shares"): Row(TASK, 200, 200),
    ("PUT", "/api/tasks/{task_id}/shares"): Row(TASK, 200, 200, body={"subjects": ["gina"]}),
    ("POST", "/api/stream-tickets"): Row(NAMED, 201, 201, shared=True, body={"taskId": "{}"}),
    ("DELETE", "/api/tasks/{task_id}"): Row(TASK, 409, 204),
    ("GET", "/api/jobs/history"): Row(LIST, 200, 200),
    ("GET", "/api/jobs/stats"): Row(OPEN, 200, 200),
    ("POST", "/api/jobs/cleanup"): Row(OPEN, 200, 200, body={"mode": "archive"}),
    ("POST", "/api/agents/reset-state"): Row(ADMIN, 403, 403),
    ("POST", "/api/v2/agent/start"): Row(OPEN, 200, 200, body={"selected_agents": ["reader"]}),
    ("GET", "/api/v2/agent/active"): Row(OPEN, 200, 200),
    ("GET", "/api/v2/agent/status/{task_id}"): Row(TASK, 200, 200, shared=True),
    ("POST", "/api/v2/agent/stop"): Row(OPEN, 200, 404, body={"task_id": GHOST}),
    ("GET", "/api/v2/jobs/history"): Row(LIST, 200, 200),
    ("POST", "/api/v2/jobs/cleanup"): Row(OPEN, 200, 200),
    ("POST", "/api/agent/reset-state"): Row(ADMIN, 403, 403),
    ("GET", "/api/task-runner/status"): Row(OPEN, 200, 200),
    ("GET", "/api/task-runner/logs"): Row(LIST, 200, 200),
    ("GET", "/api/task-runner/logs-history"): Row(LIST, 200, 200),
    ("GET", "/metrics"): Row(ADMIN, 403, 403),
    ("POST", "/api/task-runner/start"): Row(ADMIN, 403, 403),
    ("POST", "/api/task-runner/stop"): Row(ADMIN, 403, 403),
    ("POST", "/api/task-runner/clear-logs"): Row(ADMIN, 403, 403),
}
"""A new route needs a row here."""
LAST = (("POST", "/api/tasks/{task_id}/cancel"), ("DELETE", "/api/tasks/{task_id}"))
"""What ends the task: its owner's turn comes when everybody else has had theirs."""
PUBLIC = {"/healthz", "/readyz", "/docs", "/openapi.json", page.ASSETS, *page.PATHS}


def target(path: str, task_id: str) -> str:
    return path.format(task_id=task_id, role="librarian", name="a.html")


def filled(body: Any, task_id: str) -> Any:
    return orjson.loads(orjson.dumps(body).replace(b"{}", task_id.encode()))


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


def verbs(method: str, path: str) -> set[str]:
    """A method, and HEAD where it is one."""
    return {method, "HEAD"} if method == "GET" and "stream" not in path else {method}


async def finish(alice: Client, task_id: str, *, finished: bool) -> None:
    """Its owner cancels and deletes the task."""
    for (method, path), row in ((key, MATRIX[key]) for key in LAST):
        expected = row.finished if finished else row.running
        if method == "DELETE" and not finished:
            await alice.reaches(task_id, "cancelled")
            expected = row.finished
        assert (await alice.call(method, target(path, task_id))).status == expected, path


async def begin(alice: Client, *, finished: bool) -> str:
    """A task of the owner that runs, or has ended with a file."""
    task_id = await alice.submit({"description": "secret words", **FILES} if finished else HANG)
    await alice.reaches(task_id, "completed" if finished else "running")
    return task_id


@pytest.mark.parametrize("finished", [False, True])
async def test_a_task_of_somebody_else_is_answered_exactly_like_none(
    server: ServerProcess, alice: Client, finished: bool
) -> None:
    bob = caller(server, f"bob {finished}")
    limited = {
        "tasks:read": caller(server, "eve", "tasks:execute"),
        "tasks:execute": caller(server, "eve", "tasks:read"),
    }
    task_id = await begin(alice, finished=finished)
    for (method, path), row in MATRIX.items():
        if row.kind not in (TASK, NAMED):
            continue
        body, nobody = filled(row.body, task_id), filled(row.body, GHOST)
        for verb in verbs(method, path):
            name = f"{verb} {path}"
            foreign = await read(bob, verb, target(path, task_id), body)
            ghost = await read(bob, verb, target(path, GHOST), nobody)
            assert (foreign.status, ghost.status) == (404, 404), name
            assert foreign.body == ghost.body, name
            assert _fields(foreign) == _fields(ghost), name
            assert b"secret" not in foreign.body
            own_ghost = await read(alice, verb, target(path, GHOST), nobody)
            assert own_ghost.status == 404, name
            assert own_ghost.body == ghost.body, name
            stranger = await read(Client(server.port), verb, target(path, task_id), body)
            assert stranger.status == 401, name
            scope = ROUTES[path][method].scope
            assert scope is not None
            refused = await read(limited[scope], verb, target(path, task_id), body)
            assert refused.status == 403, name
        if (method, path) not in LAST:
            own = await read(alice, method, target(path, task_id), body)
            assert own.status == (row.finished if finished else row.running), path
    assert await alice.status(task_id) == ("completed" if finished else "running")
    await finish(alice, task_id, finished=finished)


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("everyone", [False, True])
async def test_who_reads_a_shared_task_gets_what_its_owner_gets_and_controls_nothing(
    server: ServerProcess, alice: Client, finished: bool, everyone: bool
) -> None:
    fred = caller(server, "fred")
    task_id = await begin(alice, finished=finished)
    shares = f"/api/tasks/{task_id}/shares"
    subjects = "everyone" if everyone else ["fred"]
    assert (await alice.call("PUT", shares, {"subjects": subjects})).status == 200
    for (method, path), row in MATRIX.items():
        if row.kind not in (TASK, NAMED):
            continue
        body = filled(row.body, task_id)
        for verb in verbs(method, path):
            answer = await read(fred, verb, target(path, task_id), body)
            expected = row.finished if finished else row.running
            assert answer.status == (expected if row.shared else 403), f"{verb} {path}"
            ghost = await read(fred, verb, target(path, GHOST), filled(row.body, GHOST))
            assert ghost.status == 404, f"{verb} {path}"
    assert (await alice.get(shares))["subjects"] == subjects
    assert await alice.status(task_id) == ("completed" if finished else "running")
    assert (await alice.call("PUT", shares, {"subjects": []})).status == 200
    for (method, path), row in MATRIX.items():
        if row.kind in (TASK, NAMED):
            answer = await read(fred, method, target(path, task_id), filled(row.body, task_id))
            assert answer.status == 404, f"{method} {path}"
    await finish(alice, task_id, finished=finished)


async def test_a_ticket_opens_its_stream_and_no_other_route(
    server: ServerProcess, alice: Client
) -> None:
    task_id = await begin(alice, finished=False)
    other = await begin(alice, finished=True)
    made = await alice.call("POST", "/api/stream-tickets", {"taskId": task_id})
    query = f"?ticket={made.json()['ticket']}"
    stranger = Client(server.port)
    for (method, path), row in MATRIX.items():
        opens = ROUTES[path][method].ticket
        for id in (task_id, other):
            body = TWO if row.kind == SUBMIT else filled(row.body, id)
            answer = await read(stranger, method, target(path, id) + query, body)
            expected = 200 if opens == tickets.TASK and id == task_id else 401
            assert answer.status == expected, f"{method} {path}"
    await finish(alice, task_id, finished=False)


def _fields(answer: Answer) -> dict[str, str]:
    return {name: v for name, v in answer.headers if name not in ("date", "x-request-id")}


async def test_lists_and_counts_hold_nothing_of_others(
    server: ServerProcess, alice: Client
) -> None:
    await alice.run(TWO)
    running = await alice.submit(HANG)
    carol = caller(server, "carol who has nothing")
    for query in ("", "?scope=mine", "?scope=shared", "?q=secret", "?status=running",
                  "?agent=scripted-1", "?archived=true", "?stuck=true", "?limit=200"):  # fmt: skip
        assert (await carol.get(f"/api/tasks{query}")) == {"tasks": []}, query
    assert (await carol.get("/api/tasks/active")) == {"tasks": []}
    for query in ("?user=alice", "?owner=alice", "?sub=alice", "?scope=all"):
        assert (await carol.call("GET", f"/api/tasks{query}")).status in (400, 403), query
    refused = await carol.call("POST", "/api/tasks", {**TWO, "after": [running]})
    ghost = await carol.call("POST", "/api/tasks", {**TWO, "after": [GHOST]})
    assert (refused.status, refused.body) == (422, ghost.body), "after tells nothing either"
    await alice.call("POST", f"/api/tasks/{running}/cancel")


async def test_what_lists_things_shows_everybody_their_own(
    server: ServerProcess, alice: Client
) -> None:
    await alice.run(TWO)
    stranger = caller(server, "dan who looks around")
    for (method, path), row in MATRIX.items():
        if row.kind == LIST:
            assert b"secret" not in (await read(stranger, method, path)).body, path
            if path != "/api/tasks/active":
                assert b"secret title" in (await read(alice, method, path)).body, path


async def test_what_only_admins_may_is_refused_to_everybody_else(
    server: ServerProcess, alice: Client
) -> None:
    for (method, path), row in MATRIX.items():
        assert (ROUTES[path][method].scope == "admin") == (row.kind == ADMIN), path
        if row.kind == ADMIN:
            refused = await alice.call(method, path)
            assert (refused.status, refused.slug) == (403, "forbidden"), path
            assert "admin" in str(refused.header("www-authenticate")), path


async def test_no_route_answers_a_token_that_came_any_other_way(server: ServerProcess) -> None:
    good = token("dora")
    stranger = Client(server.port)
    for (method, path), row in MATRIX.items():
        url = target(path, GHOST)
        body = TWO if row.kind == SUBMIT else filled(row.body, GHOST)
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


@pytest.mark.parametrize("finished", [False, True])
async def test_admins_reach_the_tasks_of_everybody(
    server: ServerProcess, alice: Client, finished: bool
) -> None:
    root = caller(server, "root", "admin")
    task_id = await begin(alice, finished=finished)
    for (method, path), row in MATRIX.items():
        if row.kind in (TASK, NAMED) and (method, path) not in LAST:
            answer = await read(root, method, target(path, task_id), filled(row.body, task_id))
            assert answer.status == (row.finished if finished else row.running), path
    if not finished:
        assert (await root.call("POST", f"/api/tasks/{task_id}/cancel")).status == 202
        await alice.reaches(task_id, "cancelled")
        assert (await alice.log(task_id))[-1].data["requestedBy"] == "root"
    assert (await root.call("DELETE", f"/api/tasks/{task_id}")).status == 204
    assert (await alice.call("GET", f"/api/tasks/{task_id}")).status == 404


def test_the_log_of_the_server_holds_no_token_and_no_words_of_tasks(
    server: ServerProcess, tmp_path: Path
) -> None:
    assert "request" in server.stderr
    assert "secret words" not in server.stderr
    assert "secret title" not in server.stderr
    assert "eyJ" not in server.stderr
