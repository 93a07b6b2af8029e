"""Every route of contract 2 and 3, over a real server."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from tests.e2e.client import Client, frames, joined, task, types, until
from tests.e2e.serving import inside, token
from tests.grammar import check_log

TWO = task({"agent": "scripted-1", "texts": ["one", "two"]})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
FAIL = task({"agent": "scripted-1", "texts": ["one"], "outcome": "fail"})
UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
FILES = {
    "a.html": "<script>alert(1)</script>",
    "a b'c;d%41#e.txt": "blank",
    "ünïcode \u2013 日本.md": "# ü",
    "empty": "",
    "big.bin": "x" * 700_000,
}


def librarian(files: dict[str, str]) -> dict[str, Any]:
    return {"description": "x", "selectedAgents": ["librarian"], "inputs": {"files": files}}


async def finished(client: Client, body: dict[str, Any]) -> str:
    """Run a task to its end; its id."""
    return str((await client.run(body))[0].data["taskId"])


# -- contract 2: execute -------------------------------------------------------------------------


async def test_agents_are_listed_with_what_is_missing_to_use_them(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        body = await alice.get("/api/agents")
    agents = {entry["agentRole"]: entry for entry in body["agents"]}
    assert agents["scripted-1"]["available"] is True
    assert agents["scripted-1"]["kind"] == "scripted"
    assert agents["missing"]["available"] is False
    assert agents["missing"]["unavailableReason"] == "Set POSTSTREAM_SOMETHING."
    assert body["executionModes"] == ["sequential", "parallel", "graph"]
    assert body["providers"] == []


@pytest.mark.parametrize("path", ["/api/agents/execute", "/execute"])
@pytest.mark.parametrize(("body", "status"), [(TWO, "completed"), (FAIL, "failed")])
async def test_execute_answers_with_the_snapshot_of_the_end(
    tmp_path: Path, path: str, body: dict[str, Any], status: str
) -> None:
    async with inside(tmp_path) as alice:
        answer = await alice.call("POST", path, body)
        snapshot = answer.json()
        task_id = snapshot["taskId"]
        assert (answer.status, snapshot["status"]) == (200, status)
        assert answer.header("x-task-id") == task_id
        assert answer.header("location") == f"/api/tasks/{task_id}"
        assert snapshot == await alice.get(f"/api/tasks/{task_id}")


@pytest.mark.parametrize(
    ("prefer", "body", "status"),
    [
        ("respond-async", TWO, 202),
        ("respond-async, wait=5", HANG, 202),
        ("wait=1", HANG, 202),
        ("wait=0", HANG, 202),
        ("wait=20", TWO, 200),
        ("nonsense; x=1", TWO, 200),
    ],
)
async def test_execute_waits_as_long_as_preferred(
    tmp_path: Path, prefer: str, body: dict[str, Any], status: int
) -> None:
    async with inside(tmp_path) as alice:
        answer = await alice.call("POST", "/execute", body, headers=[("Prefer", prefer)])
        assert answer.status == status
        task_id = answer.json()["taskId"]
        assert answer.header("location") == f"/api/tasks/{task_id}"
        if status == 202:
            assert answer.json()["streamUrl"] == f"/api/tasks/{task_id}/stream"
            assert answer.json().keys() == {"taskId", "streamUrl", "status"}
        assert await alice.status(task_id) in ("running", "completed")


async def test_a_task_survives_the_caller_who_waits_for_it(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        body = {"description": "x", "selectedAgents": ["gate"]}
        body |= {"inputs": {"gate": str(tmp_path / "open")}}  # type: ignore[dict-item]

        async def call() -> None:
            await alice.call("POST", "/execute", body)

        waiting = asyncio.create_task(call())

        async def runs() -> bool:
            return bool((await alice.get("/api/tasks/active"))["tasks"])

        await until(runs, "the task runs")
        waiting.cancel()
        await asyncio.wait([waiting])
        (entry,) = (await alice.get("/api/tasks/active"))["tasks"]
        (tmp_path / "open").touch()
        assert await alice.reaches(entry["taskId"], "completed", "cancelled") == "completed"


async def test_submit_answers_at_once_and_says_where_the_stream_is(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        answer = await alice.call("POST", "/api/tasks", TWO)
        body = answer.json()
        assert answer.status == 202
        assert re.fullmatch(UUID, body["taskId"])
        assert body["status"] in ("running", "queued")
        stream = await alice.call("GET", body["streamUrl"])
        assert types(frames(stream.body))[-1] == "task_complete"


# -- contract 3: tasks ---------------------------------------------------------------------------


async def test_the_snapshot_has_the_fields_of_the_contract(tmp_path: Path) -> None:
    extra = {"title": "T", "metadata": {"a": "b"}, "priority": 3, "triggerSource": "me"}
    body = task(
        {"agent": "scripted-1", "texts": ["some ", "text"], "kind": "content"},
        {"agent": "scripted-2", "texts": ["x"], "outcome": "fail"},
        executionMode="parallel", **extra,
    )  # fmt: skip
    async with inside(tmp_path) as alice:
        log = await alice.run(body)
        snapshot = await alice.get(f"/api/tasks/{log[0].data['taskId']}")
    good, bad = snapshot.pop("agents")
    for name in ("createdAt", "startedAt", "endedAt"):
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", snapshot.pop(name)), name
    for name in ("activeTime", "totalExecutionTime", "queueTime"):
        assert snapshot.pop(name) >= 0, name
    assert snapshot.pop("actions").keys() >= {"cancel", "delete"}
    expected = {
        "taskId": log[0].data["taskId"], "owner": "alice", "title": "T", "description": "a test",
        "status": "completed", "executionMode": "parallel",
        "selectedAgents": ["scripted-1", "scripted-2"], "inputs": body["inputs"],
        "jobType": "manual", "triggerSource": "me", "priority": 3, "progress": 0.5, "itemsDone": 0,
        "itemsFailed": 0, "stuck": False, "archived": False, "lastEventId": len(log),
        "metadata": {"a": "b"},
    }  # fmt: skip
    assert {name: snapshot.get(name) for name in expected} == expected
    assert snapshot.keys() <= expected.keys()
    assert (good["status"], good["attempt"], good["content"]) == ("completed", 1, "some text")
    assert (bad["status"], bad["error"], bad["code"]) == (
        "error", "scripted failure", "agent_failed",
    )  # fmt: skip


async def test_snapshot_and_stream_behind_it_neither_lose_nor_double_a_word(tmp_path: Path) -> None:
    parts = {"agent": "scripted-1", "repeat": 60, "delay": 0.004, "kind": "content", "nonce": True}
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(task(parts))
        for _ in range(6):
            snapshot = await alice.get(f"/api/tasks/{task_id}")
            seq = snapshot["lastEventId"]
            log = await alice.log(task_id, after=seq)
            text = snapshot["agents"][0]["content"]
            text += "".join(frame.data.get("content", "") for frame in log)
            end = await alice.get(f"/api/tasks/{task_id}")
            assert text == end["agents"][0]["content"]


async def test_the_log_as_pages_of_json_is_the_stream_byte_for_byte(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        log = await alice.run(task({"agent": "scripted-1", "repeat": 20, "nonce": True}))
        path: str | None = f"/api/tasks/{log[0].data['taskId']}/events?limit=7"
        pages: list[bytes] = []
        while path is not None:
            answer = await alice.call("GET", path)
            body = answer.json()
            assert body["lastEventId"] == len(log)
            assert len(body["events"]) <= 7
            pages.append(answer.body.partition(b'"events":[')[2].rpartition(b'],"lastEventId"')[0])
            link = answer.header("link")
            path = link.partition("<")[2].partition(">")[0] if link else None
    assert len(pages) == -(-len(log) // 7)
    stored = b",".join(frame.raw.partition(b"\ndata: ")[2].strip() for frame in log)
    assert b",".join(pages) == stored
    check_log([frame.data for frame in log])


async def test_lists_are_newest_first_and_every_filter_narrows_them(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        marks = [
            {"title": f"Task {n}", "metadata": {"n": str(n), "odd": str(n % 2)}} for n in range(6)
        ]
        bodies = [{**(FAIL if n == 2 else TWO), **mark} for n, mark in enumerate(marks)]
        ids = [await finished(alice, body) for body in bodies]
        ids.append(await alice.submit({**HANG, "description": "100% sure_thing", "title": "H"}))
        ids.append(await finished(alice, librarian({})))
        created = [(await alice.get(f"/api/tasks/{i}"))["createdAt"] for i in ids]
        wanted: list[tuple[str, list[int]]] = [
            ("", [7, 6, 5, 4, 3, 2, 1, 0]),
            ("status=failed", [2]),
            ("status=failed,running", [6, 2]),
            ("agent=librarian", [7]),
            ("agent=scripted", []),
            ("q=task%201", [1]),
            ("q=TASK", [5, 4, 3, 2, 1, 0]),
            ("q=100%25%20sure_", [6]),
            ("q=s_re", []),
            ("metadata.odd=1", [5, 3, 1]),
            ("metadata.odd=1&metadata.n=3", [3]),
            ("metadata.none=1", []),
            (f"to={quote(created[0])}", []),
            ("from=2999-01-01", []),
            (f"from={quote(created[0])}&status=failed", [2]),
            ("stuck=true", []),
            ("archived=true", [7, 6, 5, 4, 3, 2, 1, 0]),
            ("limit=3", [7, 6, 5]),
        ]
        for query, expected in wanted:
            found = (await alice.get(f"/api/tasks?{query}"))["tasks"]
            assert [ids.index(entry["taskId"]) for entry in found] == expected, query
            for entry in found:
                assert "content" not in orjson.dumps(entry).decode(), "lists are without texts"
        active = (await alice.get("/api/tasks/active"))["tasks"]
        assert [entry["taskId"] for entry in active] == [ids[6]]


async def test_no_unfinished_task_is_left_out_however_many_there_are(tmp_path: Path) -> None:
    async with inside(tmp_path, runner_autostart=False) as alice:
        ids = set(await asyncio.gather(*(alice.submit(TWO) for _ in range(201))))
        first = await alice.call("GET", "/api/tasks/active")
        link = str(first.header("link")).partition(">")[0].removeprefix("<")
        rest = await alice.call("GET", link)
        found = [e["taskId"] for page in (first, rest) for e in page.json()["tasks"]]
        assert (len(found), set(found)) == (201, ids)
        assert first.json()["nextCursor"] in link
        assert rest.header("link") is None


async def test_pages_of_a_list_hold_each_task_once_while_new_ones_come(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        ids = [await alice.submit({**TWO, "metadata": {"a b&": "c d&"}}) for _ in range(11)]
        found: list[str] = []
        path: str | None = "/api/tasks?limit=3&metadata.a%20b%26=c%20d%26"
        while path is not None:
            answer = await alice.call("GET", path)
            found += [entry["taskId"] for entry in answer.json()["tasks"]]
            link = answer.header("link")
            assert (link is None) == ("nextCursor" not in answer.json())
            assert link is None or link.endswith('; rel="next"')
            path = link.partition("<")[2].partition(">")[0] if link else None
            await alice.submit({**TWO, "metadata": {"a b&": "c d&"}})
    assert found == ids[::-1]


async def test_artifacts_come_back_as_they_were_and_only_as_downloads(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        log = await alice.run(librarian(FILES))
        task_id = log[0].data["taskId"]
        listed = (await alice.get(f"/api/tasks/{task_id}/artifacts"))["artifacts"]
        assert {entry["name"]: entry["size"] for entry in listed} == {
            name: len(content.encode()) for name, content in FILES.items()
        }
        for entry in listed:
            answer = await alice.call("GET", entry["url"])
            name = entry["name"]
            assert (answer.status, answer.body) == (200, FILES[name].encode()), name
            assert answer.header("content-disposition") == (
                f"attachment; filename*=UTF-8''{quote(name, safe='')}"
            )
            assert answer.header("content-type") == "text/html; charset=utf-8"
            assert answer.header("content-security-policy") == "sandbox; default-src 'none'"
            assert answer.header("x-content-type-options") == "nosniff"
            assert (await alice.call("HEAD", entry["url"])).header("content-length") == str(
                entry["size"]
            )
        for path in ("librarian/none", "gate/a.html", "librarian/a.htm", "librarian/..%2f..%2fx"):
            wrong = await alice.call("GET", f"/api/tasks/{task_id}/artifacts/{path}")
            assert wrong.status == 404
    names = [f.data["artifact"]["name"] for f in log if "artifact" in f.data]
    assert names == list(FILES)
    (complete,) = [frame.data for frame in log if frame.type == "agent_complete"]
    assert complete["hasArtifacts"] is True
    assert [entry["name"] for entry in complete["artifacts"]] == list(FILES)


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "a\x00b", "a\nb", "x" * 201, 'a"b'])
async def test_an_artifact_with_an_impossible_name_fails_its_agent(
    tmp_path: Path, name: str
) -> None:
    async with inside(tmp_path) as alice:
        body = librarian({name: "x"})
        answer = await alice.call("POST", "/execute/stream", body)
        if answer.status == 200:
            log = frames(answer.body)
            assert types(log)[-2:] == ["agent_error", "task_error"]
            task_id = log[0].data["taskId"]
            assert (await alice.get(f"/api/tasks/{task_id}/artifacts"))["artifacts"] == []
        else:
            assert answer.status in (400, 422)


async def test_deleting_leaves_nothing_and_frees_the_key(tmp_path: Path) -> None:
    key = [("Idempotency-Key", "once")]
    async with inside(tmp_path) as alice:
        running = await alice.submit(HANG)
        refused = await alice.call("DELETE", f"/api/tasks/{running}")
        assert (refused.status, refused.slug) == (409, "conflict")
        log = await alice.run(librarian(FILES), headers=key)
        task_id = log[0].data["taskId"]
        path = f"/api/tasks/{task_id}"
        stale = await alice.call("DELETE", f"{path}?lastEventId={len(log) - 1}")
        beyond = await alice.call("DELETE", f"{path}?lastEventId={len(log) + 1}")
        assert (stale.status, beyond.status) == (409, 409)
        gone = await alice.call("DELETE", f"{path}?lastEventId={len(log)}")
        assert (gone.status, gone.body) == (204, b"")
        ghost = await alice.call("GET", "/api/tasks/00000000-0000-4000-8000-000000000000")
        for method, suffix in [
            ("GET", ""), ("GET", "/stream"), ("GET", "/events"), ("GET", "/artifacts"),
            ("GET", "/artifacts/librarian/a.html"), ("POST", "/cancel"), ("DELETE", ""),
        ]:  # fmt: skip
            answer = await alice.call(method, path + suffix)
            assert (answer.status, answer.body) == (404, ghost.body), suffix
        assert [t["taskId"] for t in (await alice.get("/api/tasks"))["tasks"]] == [running]
        cursor = [*key, ("Last-Event-ID", "3")]
        lost = await alice.call("POST", "/execute/stream", librarian(FILES), headers=cursor)
        assert (lost.status, lost.slug) == (409, "unknown-idempotency-key")
        again = await alice.run(librarian(FILES), headers=key)
        assert again[0].data["taskId"] != task_id


async def test_health_is_open_to_everybody_and_tells_nobody_anything(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        stranger = Client(alice.port)
        alive, ready = await stranger.get("/healthz"), await stranger.get("/readyz")
    assert alive == {"status": "ok"}
    assert ready["status"] == "ok"
    assert set(ready["checks"].values()) == {"ok"}


async def test_the_page_answers_on_its_own_routes_only(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        stranger = Client(alice.port)
        for path in ("/", "/new", "/login", "/history", "/worker", "/settings", "/tasks/x"):
            assert (await stranger.call("GET", path)).status == 200, path
        for path in ("/index.html", "/tasks", "/tasks/x/y", "/login/", "/assets/../settings.py"):
            assert (await stranger.call("GET", path)).status == 404, path


async def test_another_origin_is_told_nothing_unless_it_is_listed(tmp_path: Path) -> None:
    listed = "https://page.example"
    async with inside(tmp_path, cors_origins=listed) as alice:
        for origin, allowed in [(listed, True), ("https://evil.example", False), ("null", False)]:
            for path in ("/api/tasks", "/api/none", "/healthz"):
                answer = await alice.call("GET", path, headers=[("Origin", origin)])
                assert answer.header("access-control-allow-origin") == (origin if allowed else None)
            stream = await alice.call("POST", "/execute/stream", TWO, headers=[("Origin", origin)])
            assert stream.header("access-control-allow-origin") == (origin if allowed else None)
            if allowed:
                exposed = str(stream.header("access-control-expose-headers"))
                assert {"X-Task-Id", "Location", "Retry-After"} <= set(exposed.split(", "))


async def test_what_comes_over_the_line_is_text_of_agents_and_never_a_frame_of_its_own(
    tmp_path: Path,
) -> None:
    forged = 'event: task_complete\ndata: {"type":"task_complete"}'
    texts = [
        forged, f"\n\n{forged}\n\n", f"\r{forged}\r\r", f"\r\n\r\n{forged}\r\n\r\n", "id: 99\n\n",
        "\u2028\u2029\x85", "\x0b\x0c\x1c\x1d\x1e", "\ufeffbom", "\x1b[31mred\x1b[0m", "<b>a</b>",
        "retry: 1\n\n", ": comment\n\n", "data: x\n\ndata: y", "\\u0000 \\n", '"quote" \\ /',
        "👩‍👩‍👧 ünï", "x" * 200_000, "\x7f", "\t tab", "", " ", "\n", "\x00nul",
    ]  # fmt: skip
    parts = [
        {"agent": "scripted-1", "texts": texts},
        {"agent": "scripted-2", "texts": texts, "kind": "content"},
    ]
    async with inside(tmp_path) as alice:
        answer = await alice.call("POST", "/execute/stream", task(*parts))
        assert answer.status == 200, answer
        log = frames(answer.body)
        content = (await alice.get(f"/api/tasks/{log[0].data['taskId']}"))["agents"][1]["content"]
    assert types(log).count("task_complete") == 1
    assert [frame.seq for frame in log] == list(range(1, len(log) + 1))
    for frame in log:
        assert frame.raw.decode().count("\n") == 4
        assert len(frame.raw.decode().splitlines()) == 4, "no line end but our own"
    said = [f.data["message"] for f in log if "message" in f.data]
    assert said == texts
    assert content == "".join(texts)
    check_log([frame.data for frame in log])


async def test_users_with_odd_names_own_their_tasks_like_anybody(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        for name in ("O'Brien", "日本", "a b", "x" * 255, 'q"uote', "%", "_", "\\"):
            odd = Client(alice.port, token(name))
            log = await odd.run(TWO)
            (entry,) = (await odd.get("/api/tasks"))["tasks"]
            assert entry["taskId"] == log[0].data["taskId"], name
            assert joined(await odd.log(entry["taskId"])) == joined(log)
