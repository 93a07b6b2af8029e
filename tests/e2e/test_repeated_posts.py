"""A POST may be repeated: the same key and body are the same task, whatever happens in between."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.client import Client, end_frame, frames, joined, task, until
from tests.e2e.serving import caller, inside, process, token
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

STREAM = "/api/agents/execute/stream"
TALK = task({"agent": "scripted-1", "repeat": 6, "delay": 0.005, "nonce": True})
OTHER = task({"agent": "scripted-1", "repeat": 7, "delay": 0.005, "nonce": True})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})


def key(name: str | bytes) -> tuple[str, str | bytes]:
    return "Idempotency-Key", name


async def count(client: Client) -> int:
    return len((await client.get("/api/tasks?limit=200"))["tasks"])


async def test_sixteen_posts_at_once_with_one_key_are_one_task_and_sixteen_equal_streams(
    alice: Client,
) -> None:
    for rounds in range(1, 21):
        name = secrets.token_hex(8)
        posts = (alice.call("POST", STREAM, TALK, headers=[key(name)]) for _ in range(16))
        answers = await asyncio.gather(*posts)
        assert [answer.status for answer in answers] == [200] * 16
        assert len({joined(frames(answer.body)) for answer in answers}) == 1
        assert len({answer.header("x-task-id") for answer in answers}) == 1
        assert all(end_frame(answer.body) for answer in answers)
        replayed = [answer.header("idempotency-replayed") for answer in answers]
        assert sorted(map(str, replayed)) == ["None"] + ["true"] * 15
        assert await count(alice) == rounds


async def test_the_key_holds_over_all_submit_routes(alice: Client) -> None:
    first = await alice.call("POST", "/api/tasks", TALK, headers=[key("k")])
    task_id = first.json()["taskId"]
    for path in (STREAM, "/execute/stream", "/api/agents/execute", "/execute", "/api/tasks"):
        answer = await alice.call("POST", path, TALK, headers=[key("k")])
        assert answer.status == (202 if path == "/api/tasks" else 200), path
        assert answer.header("x-task-id") == task_id
        assert answer.header("idempotency-replayed") == "true"
        wrong = await alice.call("POST", path, OTHER, headers=[key("k")])
        assert (wrong.status, wrong.slug) == (422, "idempotency-key-reused"), path
    assert await count(alice) == 1


async def test_a_body_is_the_same_however_it_is_written(alice: Client) -> None:
    bodies = [
        orjson.dumps(TALK),
        orjson.dumps(TALK, option=orjson.OPT_INDENT_2),
        orjson.dumps(dict(reversed(TALK.items()))),
        orjson.dumps(TALK).replace(b"scripted", b"\\u0073cripted"),
    ]
    answers = [await alice.call("POST", STREAM, body, headers=[key("k")]) for body in bodies]
    assert [answer.status for answer in answers] == [200] * 4
    assert len({joined(frames(answer.body)) for answer in answers}) == 1


async def test_a_quoted_key_equals_its_bare_content(alice: Client) -> None:
    names = ["abc", '"abc"', "   abc"]
    ids = {
        (await alice.call("POST", "/api/tasks", TALK, headers=[key(n)])).json()["taskId"]
        for n in names
    }
    assert len(ids) == 1
    other = await alice.submit(TALK, headers=[key("abcd")])
    assert other not in ids


async def test_a_key_belongs_to_its_owner(server: ServerProcess, alice: Client) -> None:
    bob = caller(server, "bob of the same key")
    hers = await alice.submit(TALK, headers=[key("k")])
    answer = await bob.call("POST", "/api/tasks", OTHER, headers=[key("k")])
    assert answer.status == 202
    assert answer.header("idempotency-replayed") is None
    assert answer.json()["taskId"] != hers
    assert await count(alice) == 1


BAD_KEYS: list[list[str | bytes]] = [
    [""], [" "], ["x" * 256], ["a b"], ['"a b"'], ['"'], ['""'], ['"a'], ["\t"], ["ü"], [b"\xff"],
    ["a", "a"], ["a", "b"], ["a", ""], ['"' + "x" * 256 + '"'],
]  # fmt: skip


async def test_a_key_that_cannot_be_one_is_refused_and_nothing_starts(alice: Client) -> None:
    for names in BAD_KEYS:
        for path in (STREAM, "/api/tasks", "/execute"):
            answer = await alice.call("POST", path, TALK, headers=[key(n) for n in names])
            assert (answer.status, answer.slug) == (400, "invalid-idempotency-key"), names
    assert await count(alice) == 0


async def test_a_cursor_without_a_task_starts_nothing(alice: Client) -> None:
    for cursor in ("0", "1", "3"):
        bare = await alice.call("POST", STREAM, TALK, headers=[("Last-Event-ID", cursor)])
        assert (bare.status, bare.slug) == (400, "invalid-last-event-id")
        unknown = await alice.call(
            "POST", STREAM, TALK, headers=[("Last-Event-ID", cursor), key("never-seen")]
        )
        assert (unknown.status, unknown.slug) == (409, "unknown-idempotency-key")
    assert await count(alice) == 0


async def test_a_repeat_with_a_cursor_follows_the_rules_of_the_stream(alice: Client) -> None:
    log = await alice.run(TALK, headers=[key("k")])
    for cursor, status in [("", 200), ("0", 200), ("4", 200), (str(len(log)), 204),
                           (str(len(log) + 1), 409), ("x", 400)]:  # fmt: skip
        headers = [key("k"), ("Last-Event-ID", cursor)]
        answer = await alice.call("POST", STREAM, TALK, headers=headers)
        assert answer.status == status, cursor
        if status in (200, 204):
            assert answer.header("idempotency-replayed") == "true"
            assert joined(frames(answer.body)) == joined(log[int(cursor or 0) :])
    assert await count(alice) == 1


async def test_a_repeat_is_answered_while_its_owner_is_over_every_limit(tmp_path: Path) -> None:
    async with inside(tmp_path, max_tasks_per_owner=1, max_streams_per_owner=1) as alice:
        async with alice.open("POST", STREAM, HANG, headers=[key("k")]) as first:
            await first.read_until(lambda body: b"here" in body)
            for path in ("/api/tasks", STREAM, "/execute"):
                over = await alice.call("POST", path, TALK, headers=[key("other")])
                assert (over.status, over.slug) == (429, "limit-exceeded")
                assert int(over.header("retry-after") or 0) > 0
            async with alice.open("POST", STREAM, HANG, headers=[key("k")]) as again:
                assert again.status == 200
                await again.read_until(lambda body: b"here" in body)
            repeat = await alice.call("POST", "/api/tasks", HANG, headers=[key("k")])
            assert repeat.status == 202
        assert await count(alice) == 1


async def test_tasks_submitted_at_once_do_not_slip_past_the_limit(tmp_path: Path) -> None:
    async with inside(tmp_path, max_tasks_per_owner=3) as alice:
        posts = (alice.call("POST", "/api/tasks", HANG) for _ in range(16))
        statuses = sorted(answer.status for answer in await asyncio.gather(*posts))
        assert statuses == [202] * 3 + [429] * 13
        assert await count(alice) == 3
        assert await Client(alice.port, token("bob")).submit(TALK)


async def test_a_repeat_is_answered_after_its_agents_are_gone(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start()
        alice = caller(server)
        log = await alice.run(TALK, headers=[key("k")])
        server.restart(scripted_agents=0)
        alice = caller(server)
        refused = await alice.call("POST", STREAM, TALK)
        assert (refused.status, refused.slug) == (422, "invalid-request")
        again = await alice.call("POST", STREAM, TALK, headers=[key("k")])
        assert joined(frames(again.body)) == joined(log)


async def test_a_repeat_after_a_crash_is_the_same_task(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start()
        alice = caller(server)
        body: dict[str, Any] = task(
            {"agent": "scripted-1", "repeat": 200, "delay": 0.01, "nonce": True}
        )
        async with alice.open("POST", STREAM, body, headers=[key("k")]) as response:
            await response.read_until(lambda received: b"00000005" in received)
            server.kill()
            seen = frames(await response.read_to_end())
        body_of_the_repeat = dict(reversed(body.items()))
        server.start()
        headers = [key("k"), ("Last-Event-ID", str(seen[-1].seq))]
        async with alice.open("POST", STREAM, body_of_the_repeat, headers=headers) as response:
            assert response.header("idempotency-replayed") == "true"
            await response.read_until(lambda received: b"00000001" in received)
            task_id = str(response.header("x-task-id"))
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")
        await until(lambda: _ended(alice, task_id), "the task ended")
        log = await alice.log(task_id)
        assert joined(log).startswith(joined(seen))
        assert await count(alice) == 1


async def _ended(client: Client, task_id: str) -> bool:
    return await client.status(task_id) == "cancelled"
