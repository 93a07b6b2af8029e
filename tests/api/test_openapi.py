"""The OpenAPI document and its page: complete, true, and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

import pytest

from api.docs import POLICY
from api.routes import ROUTES, page
from api.routes.description import document
from api.routes.operations import OPERATIONS
from tests.api.asgi import call, make_scope
from tests.e2e.client import Client, task
from tests.e2e.serving import inside, token

FILES = {"selectedAgents": ["librarian"], "inputs": {"files": {"a.html": "<b>"}}}


async def read_document(folder: Path) -> Any:
    async with inside(folder) as alice:
        return await Client(alice.port).get("/openapi.json")


def test_every_route_but_those_of_the_page_is_described_and_nothing_else() -> None:
    pages = {*page.PATHS, page.ASSETS}
    handlers = {
        rule.handler: (method, path)
        for path, rules in ROUTES.items()
        if path not in pages
        for method, rule in rules.items()
    }
    missing = [route for handler, route in handlers.items() if handler not in OPERATIONS]
    assert not missing, f"api/routes/operations.py says nothing of {missing}"
    assert OPERATIONS.keys() == handlers.keys()


async def test_the_document_has_every_route_with_its_scope(tmp_path: Path) -> None:
    found = await read_document(tmp_path)
    assert found["openapi"] == "3.1.0"
    described = {
        (method.upper(), path): operation
        for path, table in found["paths"].items()
        for method, operation in table.items()
    }
    for (method, path), operation in described.items():
        rule = ROUTES[path][method]
        needs = operation["security"]
        assert [need["token"] for need in needs if "token" in need] == (
            [[rule.scope]] if rule.scope else []
        )
        assert ({"ticket": []} in needs) == (rule.ticket is not None)
        assert ("401" in operation["responses"]) == (rule.scope is not None)
        names = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
        assert names == set(re.findall(r"{(\w+)}", path))
    ids = [operation["operationId"] for operation in described.values()]
    assert len(set(ids)) == len(ids)
    assert set(_references(found)) <= {
        f"#/components/schemas/{name}" for name in found["components"]["schemas"]
    }


def _references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [r for part in value.values() for r in _references(part)]
    return [r for part in value for r in _references(part)] if isinstance(value, list) else []


async def test_every_field_of_an_answer_is_in_the_document(tmp_path: Path) -> None:
    """schemathesis holds types against answers; a field that nobody named would pass there."""
    async with inside(tmp_path) as alice:
        root = Client(alice.port, token("alice", "tasks:read", "tasks:execute", "admin"))
        found = await alice.get("/openapi.json")
        body = task(
            {"agent": "scripted-1", "texts": ["a"], "kind": "content"},
            {"agent": "scripted-2", "texts": ["x"], "outcome": "fail"},
            executionMode="parallel", metadata={"a": "b"}, triggerSource="me",
        )  # fmt: skip
        task_id = (await alice.run(body))[0].data["taskId"]
        with_files = (await alice.run({"description": "x", **FILES}))[0].data["taskId"]
        for path, table in found["paths"].items():
            operation = table.get("get")
            if operation is None or "text/event-stream" in str(operation["responses"]):
                continue
            for id in (task_id, with_files):
                url = path.format(task_id=id, role="librarian", name="a.html")
                answer = await root.call("GET", url)
                content = operation["responses"]["200"].get("content", {})
                schema = content.get("application/json", {}).get("schema")
                if answer.status == 200 and schema is not None:
                    assert _unnamed(answer.json(), schema, found) == [], path
        for method, url, sent in (
            ("post", "/api/tasks", body), ("post", "/api/agents/execute", body),
            ("post", "/api/stream-tickets", {"taskId": task_id}),
            ("put", f"/api/tasks/{task_id}/shares", {"subjects": ["bob"]}),
            ("post", "/api/jobs/cleanup", {"mode": "archive"}),
            ("post", "/api/agents/reset-state", {}),
        ):  # fmt: skip
            answer = await root.call(method.upper(), url, sent)
            operation = found["paths"][url.replace(task_id, "{task_id}")][method]
            content = operation["responses"][str(answer.status)]["content"]
            assert _unnamed(answer.json(), content["application/json"]["schema"], found) == []


def _unnamed(value: Any, schema: Any, document: Any, at: str = "") -> list[str]:
    """Fields of a value that its schema does not name."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    if isinstance(value, list):
        items = schema.get("items", {})
        return [n for part in value for n in _unnamed(part, items, document, f"{at}[]")]
    if not isinstance(value, dict) or "properties" not in schema:
        return []
    named = schema["properties"]
    unnamed = [f"{at}.{name}" for name in value if name not in named]
    for name in value.keys() & named.keys():
        unnamed += _unnamed(value[name], named[name], document, f"{at}.{name}")
    return unnamed


async def test_the_document_knows_where_it_is_mounted() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        from api.endpoint import Call
        from api.outlet import Outlet

        below = {**scope, "root_path": "/tasks"}
        await document(Call(None, below, receive, send, Outlet()))  # type: ignore[arg-type]

    answer = await call(app, make_scope(path="/openapi.json"))
    assert answer.json()["servers"] == [{"url": "/tasks"}]


async def test_the_page_shows_every_route_and_loads_nothing(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        answer = await Client(alice.port).call("GET", "/docs")
        found = await alice.get("/openapi.json")
    html = answer.body.decode()
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert answer.header("content-security-policy") == POLICY
    assert answer.header("x-content-type-options") == "nosniff"
    assert "unsafe" not in POLICY
    assert "script" not in POLICY.replace("default-src 'none'", "")
    [style] = re.findall(r"<style>(.*?)</style>", html, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in POLICY
    assert not re.search(r"<script|<link|<img|\son\w+=|\sstyle=|https?://", html)
    for path, table in found["paths"].items():
        for method, operation in table.items():
            assert f"<h3 id={operation['operationId']}>" in html
            assert f"<span class=method>{method.upper()}</span> <code>{path}</code>" in html
    for name in found["components"]["schemas"]:
        assert f"id=model-{name}>" in html
    targets = set(re.findall(r"href=#([\w-]+)", html))
    assert targets <= set(re.findall(r"id=([\w-]+)", html))


@pytest.mark.parametrize("path", ["/openapi.json", "/docs"])
async def test_the_description_is_open_to_everybody_and_read_only(
    tmp_path: Path, path: str
) -> None:
    async with inside(tmp_path) as alice:
        assert (await Client(alice.port).call("HEAD", path)).status == 200
        assert (await alice.call("POST", path)).status == 405
