"""What every route has in common: who may call, what is refused, how faults are answered."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

from api.auth import ADMIN, EXECUTE, READ
from api.endpoint import Call, Endpoint, Rule
from api.routes import ROUTES, page
from orchestrator.errors import StorageError
from tests.api.asgi import call, make_scope
from tests.e2e.client import Answer, Client, task
from tests.e2e.serving import inside, token

TWO = task({"agent": "scripted-1", "texts": ["one", "two"]})
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY")
DESCRIPTION = ("/openapi.json", "/docs")  # may be kept, and asked for again


def target(path: str, task_id: str = "00000000-0000-4000-8000-000000000000") -> str:
    """A path of the table with everything filled in."""
    return path.format(task_id=task_id, role="librarian", name="a.html")


def assert_problem(answer: Answer, status: int, slug: str) -> None:
    """A problem document as RFC 9457 and the contract want it, and nothing more."""
    assert answer.status == status, answer
    assert answer.header("content-type") == "application/problem+json"
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    body = answer.json()
    assert body.keys() <= {"type", "title", "status", "detail", "instance", "errors"}
    assert (body["type"], body["status"]) == (f"/problems/{slug}", status)
    assert body["title"]
    assert body["detail"]


async def test_every_route_refuses_the_methods_it_does_not_have(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        for path, rules in ROUTES.items():
            streams = any(rule.streams for rule in rules.values())
            allowed = set(rules) | ({"HEAD"} if "GET" in rules and not streams else set())
            for method in set(METHODS) - allowed - {"HEAD"}:
                answer = await alice.call(method, target(path))
                assert_problem(answer, 405, "method-not-allowed")
                assert set(str(answer.header("allow")).split(", ")) == allowed
            if "HEAD" not in allowed:
                assert (await alice.call("HEAD", target(path))).status == 405


async def test_head_has_the_header_of_get_and_no_body(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = Client(alice.port, token("root", ADMIN))
        files = {"selectedAgents": ["librarian"], "inputs": {"files": {"a.html": "<b>"}}}
        task_id = (await alice.run({"description": "x", **files}))[0].data["taskId"]
        for path, rules in ROUTES.items():
            if "GET" in rules and not rules["GET"].streams:
                client = root if rules["GET"].scope == ADMIN else alice
                got = await client.call("GET", target(path, task_id))
                head = await client.call("HEAD", target(path, task_id))
                status = 404 if path == page.ASSETS else 200  # there is no asset of this name
                assert (got.status, head.status, head.body) == (status, status, b""), path
                lengths = () if path == "/metrics" else ("content-length",)  # each one is another
                for name in ("content-type", "cache-control", *lengths):
                    assert head.header(name) == got.header(name), path


async def test_no_answer_is_cached_or_sniffed(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = (await alice.run(TWO))[0].data["taskId"]
        for path, rules in ROUTES.items():
            for method in rules:
                body = TWO if method == "POST" else None
                async with alice.open(method, target(path, task_id), body) as answer:
                    pass  # its header is enough: the log of the worker has no end
                assert answer.header("x-content-type-options") == "nosniff" or (
                    answer.status == 204 and answer.header("content-type") is None
                ), (method, path)
                assert answer.header("cache-control") in (
                    "no-store",
                    "no-cache" if path in (*page.PATHS, *DESCRIPTION) else "no-cache, no-transform",
                ), path


async def test_a_missing_scope_is_named(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        held = {READ: token("alice", READ), EXECUTE: token("alice", EXECUTE)}
        for path, rules in ROUTES.items():
            for method, rule in rules.items():
                if rule.scope is None:
                    continue
                other = Client(alice.port, held[EXECUTE if rule.scope == READ else READ])
                answer = await other.call(method, target(path), TWO if method == "POST" else None)
                assert_problem(answer, 403, "forbidden")
                assert rule.scope in answer.json()["detail"]
                assert f'scope="{rule.scope}"' in str(answer.header("www-authenticate"))
        assert (await alice.get("/api/tasks"))["tasks"] == []


async def test_admin_includes_the_other_scopes_and_sees_every_owner(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = (await alice.run(TWO))[0].data["taskId"]
        admin = Client(alice.port, token("root", ADMIN))
        assert (await admin.get(f"/api/tasks/{task_id}"))["taskId"] == task_id
        assert len(await admin.run(TWO)) == 6
        assert len((await admin.get("/api/tasks"))["tasks"]) == 1
        assert len((await admin.get("/api/tasks?scope=all"))["tasks"]) == 2
        assert_problem(await alice.call("GET", "/api/tasks?scope=all"), 403, "forbidden")


PATHS = [
    "/tasks.db", "/.env", "/.git/config", "/metrics/", "/api", "/api/", "/api/tasks/", "/assets/x",
    "/api/../.env", "/api/tasks/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "/..%2f..%2fetc",
    "/api/tasks/%00", "/api/tasks/%0d%0aX-Evil:1", "/%c0%ae%c0%ae/etc", "/<script>", "//evil/x",
    "/api/tasks/" + "x" * 4000, "/%ff%fe", "/API/TASKS", "/admin", "/debug", "/console",
]  # fmt: skip


async def test_a_path_that_leads_nowhere_is_404_and_not_repeated(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        answers = [await alice.call("GET", path) for path in PATHS]
    for path, answer in zip(PATHS, answers, strict=True):
        assert_problem(answer, 404, "not-found")
        assert answer.body == answers[0].body, path
        assert {name for name, _ in answer.headers} <= {
            "date", "content-type", "content-length", "cache-control", "x-content-type-options",
            "x-request-id",
        }  # fmt: skip


BAD_PARAMETERS = [
    "limit=0", "limit=-1", "limit=201", "limit=x", "limit=1e2", "limit=1&limit=2", "limit=%D9%A1",
    "limit=" + "9" * 40, "status=bogus", "status=running,bogus", "status=RUNNING",
    "scope=shared-with", "scope=mine&scope=all", "from=yesterday", "from=99999-01-01", "from=1",
    "to=2026-13-01", "stuck=maybe", "archived=2", "cursor=x", "cursor=-1", "cursor=0",
    "cursor=1e9", "user=bob", "owner=bob", "q=a&q=b", "q=%ff", "status=%ff", "from=2026-01-01T99",
    "from=0001-01-01T00:00:00%2B23:59:59&from=",
]  # fmt: skip


async def test_a_parameter_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        for query in BAD_PARAMETERS:
            answer = await alice.call("GET", f"/api/tasks?{query}")
            assert_problem(answer, 400, "invalid-parameter")
            assert re.split("[=&]", query)[0] in answer.json()["detail"], query


ODD_PARAMETERS = [
    "", "&", "=", "limit=", "status=", "q=", "q=%00", "q=%25", "q=_", "q='%20OR%201=1%20--",
    "agent=%22", "agent=%25", "agent='", "from=0001-01-01T00:00:00%2B23:59",
    "to=9999-12-31T23:59:59-23:59", "from=2026-01-01", "from=2026-01-01T00:00:00%2b00:00",
    "metadata.a.b=1", "metadata.%22=1", "metadata.$=1", "metadata.=1", "metadata.%00=x",
    "metadata.a%5D=1", "metadata.'=1", "cursor=999999999999999999", "stuck=false", "archived=0",
]  # fmt: skip


async def test_an_odd_parameter_finds_nothing_and_breaks_nothing(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        await alice.run(TWO)
        bob = Client(alice.port, token("bob"))
        for query in ODD_PARAMETERS:
            for client in (alice, bob):
                answer = await client.call("GET", f"/api/tasks?{query}")
                assert answer.status in (200, 400), (query, answer)
                if client is bob and answer.status == 200:
                    assert answer.json() == {"tasks": []}, query


async def test_a_fault_of_ours_is_a_reference_to_the_log_and_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(call: Call) -> None:
        raise ZeroDivisionError("the password is hunter2")

    components: Any = None  # nothing of it is needed on a route that is open to everybody
    endpoint = Endpoint(lambda: components, {"GET": Rule(broken, None)})
    answer = await call(endpoint, make_scope())
    assert answer.status == 500
    body = answer.json()
    assert (body["type"], body["status"]) == ("/problems/internal", 500)
    assert b"hunter2" not in answer.body
    assert b"ZeroDivision" not in answer.body
    reference = body["detail"].split()[-1].rstrip(".")
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert reference in record.getMessage()


async def test_a_fault_after_the_first_byte_only_breaks_the_answer_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(call: Call) -> None:
        await call.send({"type": "http.response.start", "status": 200, "headers": []})
        await call.send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise StorageError("the log has a gap")

    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request"}

    components: Any = None
    endpoint = Endpoint(lambda: components, {"GET": Rule(broken, None)})
    await endpoint(make_scope(), receive, send)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert "broke off" in caplog.text
