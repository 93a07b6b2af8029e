"""Streams over a real server: what comes first, what comes last, and what ends one early."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import (
    BEGIN,
    KEEPALIVE,
    Client,
    end_frame,
    frames,
    joined,
    task,
    types,
    until,
)
from tests.e2e.serving import inside, token

STREAM = "/api/agents/execute/stream"
TWO = task({"agent": "scripted-1", "texts": ["one", "two"], "nonce": True})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
FAIL = task({"agent": "scripted-1", "texts": ["one"], "outcome": "fail"})
SLOW = task({"agent": "scripted-1", "repeat": 20, "delay": 0.01, "nonce": True})
LINE = re.compile(rb"(id: \d+|event: [a-z_]+|data: \{.*\}|retry: \d+|: keep-alive|)")


def big(megabytes: float, *after: dict[str, object]) -> dict[str, object]:
    """A task whose log has so many megabytes."""
    count = int(megabytes * 25)
    return task({"agent": "scripted-1", "repeat": count, "size": 40_000, "nonce": True}, *after)


def gate(folder: Path) -> dict[str, object]:
    """What makes the last agent wait until a file is there."""
    return {"selectedAgents": ["scripted-1", "gate"], "inputs": {"gate": str(folder / "open")}}


async def test_a_stream_has_the_headers_and_the_first_bytes_of_the_contract(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice, alice.open("POST", STREAM, HANG) as response:
        await response.read_until(lambda body: b"here" in body)
        task_id = frames(bytes(response.received))[0].data["taskId"]
        assert response.status == 200
        assert dict(response.headers).items() >= {
            ("content-type", "text/event-stream; charset=utf-8"),
            ("cache-control", "no-cache, no-transform"),
            ("x-accel-buffering", "no"),
            ("connection", "keep-alive"),
            ("x-content-type-options", "nosniff"),
            ("x-task-id", task_id),
            ("location", f"/api/tasks/{task_id}"),
        }
        assert response.header("content-length") is None
        assert response.header("idempotency-replayed") is None
        assert response.received.startswith(BEGIN + b"id: 1\nevent: task_created\ndata: {")
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")


@pytest.mark.parametrize("path", [STREAM, "/execute/stream"])
async def test_frames_are_numbered_from_one_and_end_their_lines_with_lf(
    tmp_path: Path, path: str
) -> None:
    async with inside(tmp_path) as alice:
        body = (await alice.call("POST", path, TWO)).body
    assert b"\r" not in body
    assert [line for line in body.split(b"\n") if not LINE.fullmatch(line)] == []
    found = frames(body)
    assert [frame.seq for frame in found] == list(range(1, len(found) + 1))
    for frame in found:
        fields = {"type": frame.type, "seq": frame.seq, "taskId": found[0].data["taskId"]}
        assert frame.data.items() >= fields.items()
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", frame.data["timestamp"])
    assert body == BEGIN + joined(found) + body[-len(body.split(b"\n\n")[-2]) - 2 :]


@pytest.mark.parametrize(
    ("body", "terminal", "end"),
    [
        (TWO, "task_complete", "complete"),
        (FAIL, "task_error", "error"),
    ],
)
async def test_one_frame_without_id_closes_the_answer(
    tmp_path: Path, body: dict[str, object], terminal: str, end: str
) -> None:
    async with inside(tmp_path) as alice, alice.open("POST", STREAM, body) as response:
        received = await response.read_to_end()
        assert response.ended
    last = frames(received)[-1]
    assert last.type == terminal
    expected = {"taskId": last.data["taskId"]}
    if end == "error":
        expected["error"] = last.data["error"]
    assert end_frame(received) == (end, expected)


async def test_every_reader_gets_the_same_bytes(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(SLOW)

        async def read(after: int) -> bytes:
            path = f"/api/tasks/{task_id}/stream?after={after}"
            return joined(frames((await alice.call("GET", path)).body))

        live = await asyncio.gather(*(read(0) for _ in range(8)), read(1))
        whole = await alice.log(task_id)
    assert types(whole)[-1] == "task_complete"
    assert live == [*[joined(whole)] * 8, joined(whole[1:])]


async def test_each_answer_begins_with_a_retry_line_wherever_it_starts(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = (await alice.run(TWO))[0].data["taskId"]
        for after in range(6):
            answer = await alice.call("GET", f"/api/tasks/{task_id}/stream?after={after}")
            assert answer.body.startswith(BEGIN + b"id: %d\n" % (after + 1))
            assert answer.body.count(b"retry:") == 1
            assert answer.header("x-task-id") == task_id


async def test_silence_is_filled_with_comments_of_one_line_end(tmp_path: Path) -> None:
    async with (
        inside(tmp_path, keepalive_seconds=0.1) as alice,
        alice.open("POST", STREAM, HANG) as response,
    ):
        await response.read_until(lambda body: b"here" in body)
        quiet = len(response.received)
        loop = asyncio.get_running_loop()
        since = loop.time()
        await response.read_until(lambda body: len(body) >= quiet + 5 * len(KEEPALIVE))
        assert response.received[quiet:] == KEEPALIVE * 5
        assert loop.time() - since > 0.3


async def test_whoever_has_everything_of_a_finished_task_gets_204(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        log = await alice.run(TWO)
        path = f"/api/tasks/{log[0].data['taskId']}/stream"
        by_query = await alice.call("GET", f"{path}?after={len(log)}")
        by_header = await alice.call("GET", path, headers=[("Last-Event-ID", str(len(log)))])
    for answer in (by_query, by_header):
        assert (answer.status, answer.body) == (204, b"")
        assert answer.header("content-type") is None


async def test_whoever_has_everything_of_a_running_task_waits_for_more(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(HANG)
        await until(lambda: _has(alice, task_id, 3), "the agent began")
        path = f"/api/tasks/{task_id}/stream?after=3"
        async with alice.open("GET", path) as response:
            assert await response.read() == BEGIN
            await alice.call("POST", f"/api/tasks/{task_id}/cancel")
            body = await response.read_to_end()
    assert [frame.seq for frame in frames(body)] == [4, 5, 6]
    assert end_frame(body) == ("error", {"taskId": task_id, "error": "The task was cancelled."})


async def _has(client: Client, task_id: str, seq: int) -> bool:
    return bool((await client.get(f"/api/tasks/{task_id}"))["lastEventId"] >= seq)


@pytest.mark.parametrize("path", [STREAM, "/execute/stream", "/api/tasks/{}/stream"])
async def test_head_on_a_stream_is_refused(tmp_path: Path, path: str) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        answer = await alice.call("HEAD", path.format(task_id))
    assert (answer.status, answer.body) == (405, b"")
    assert answer.header("allow") == ("GET" if "tasks" in path else "POST")


NINES = "9" * 18
CURSORS: list[tuple[list[str | bytes], int]] = [
    ([""], 200), (["0"], 200), (["3"], 200), (["000000000000000003"], 200),
    (["6"], 204), (["7"], 409), ([NINES], 409),
    (["-1"], 400), (["-0"], 400), (["+1"], 400), (["1_0"], 400), (["0x1"], 400), (["1.0"], 400),
    (["1e3"], 400), (["9" * 19], 400), (["9" * 40], 400), (["abc"], 400), (["null"], 400),
    (["1,2"], 400), (["1 2"], 400), (["\u0661"], 400), (["\uff11"], 400), (["\u00b2"], 400),
    ([b"\xff"], 400),
    (["3:3"], 400), (["' OR 1=1 --"], 400), (["%33"], 400), (["NaN"], 400), (["1", "1"], 400),
    (["", "1"], 400), (["1", ""], 400),
]  # fmt: skip
SLUGS = {400: "invalid-last-event-id", 409: "cursor-beyond-end"}


async def test_a_cursor_is_followed_exactly_or_refused_clearly(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        whole = await alice.run(TWO, headers=[("Idempotency-Key", "k")])
        path = f"/api/tasks/{whole[0].data['taskId']}/stream"
        assert len(whole) == 6
        for values, status in CURSORS:
            fields = [("Last-Event-ID", value) for value in values]
            reread = await alice.call("GET", path, headers=fields)
            repeat = await alice.call(
                "POST", STREAM, TWO, headers=[*fields, ("Idempotency-Key", "k")]
            )
            for answer in (reread, repeat):
                assert answer.status == status, (values, answer)
                if status in SLUGS:
                    assert answer.slug == SLUGS[status]
                elif status == 200:
                    after = int(values[0] or 0)
                    assert joined(frames(answer.body)) == joined(whole[after:])
        assert len((await alice.get("/api/tasks"))["tasks"]) == 1


PARAMETERS: list[tuple[str, str | None, int, int]] = [
    ("after=2", None, 200, 3), ("after=", None, 200, 1), ("after", None, 200, 1),
    ("after=%32", None, 200, 3), ("after=2", "4", 200, 5), ("after=6", "0", 200, 1),
    ("after=2", "", 200, 3), ("after=7", "1", 200, 2), ("after=7", None, 409, 0),
    ("after=1&after=1", None, 400, 0), ("after=1&after=", None, 400, 0),
    ("after=-1", None, 400, 0), ("after=%D9%A1", None, 400, 0), ("after=%2B1", None, 400, 0),
    ("after=x", "1", 400, 0), ("after=1", "x", 400, 0),
]  # fmt: skip


async def test_the_header_beats_the_parameter_and_both_must_be_right(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = (await alice.run(TWO))[0].data["taskId"]
        for query, header, status, first in PARAMETERS:
            path = f"/api/tasks/{task_id}/stream?{query}"
            answer = await alice.call("GET", path, headers=[("Last-Event-ID", header)])
            assert answer.status == status, (query, header, answer)
            if status == 200:
                assert frames(answer.body)[0].seq == first, (query, header)


async def test_the_task_goes_on_when_its_only_reader_leaves(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        async with alice.open("POST", STREAM, SLOW) as response:
            await response.read_until(lambda body: b"00000003" in body)
            task_id = str(response.header("x-task-id"))
            response.cut()
        assert await alice.reaches(task_id, "completed", "cancelled") == "completed"
        assert types(await alice.log(task_id)).count("agent_progress") == 20


async def test_one_stream_too_many_is_refused_until_another_one_ends(tmp_path: Path) -> None:
    async with inside(tmp_path, max_streams_per_owner=2, keepalive_seconds=0.1) as alice:
        task_id = await alice.submit(HANG)
        path = f"/api/tasks/{task_id}/stream"
        async with alice.open("GET", path) as first, alice.open("GET", path) as second:
            await asyncio.gather(first.read(), second.read())
            for method, target, body in [("GET", path, None), ("POST", STREAM, TWO)]:
                refused = await alice.call(method, target, body)
                assert (refused.status, refused.slug) == (429, "limit-exceeded")
                assert int(refused.header("retry-after") or 0) > 0
                assert refused.header("ratelimit-policy") == (
                    '"open-streams";q=2;qu="concurrent-requests"'
                )
                assert str(refused.header("ratelimit")).startswith('"open-streams";r=0')
            assert len((await alice.get("/api/tasks"))["tasks"]) == 1
            bob = Client(alice.port, token("bob"))
            assert len(await bob.run(TWO)) == 6
            first.cut()

            async def admitted() -> bool:
                async with alice.open("GET", path) as third:
                    return third.status == 200

            await until(admitted, "the slot of a reader that left is free")


async def test_streams_that_begin_at_once_do_not_slip_past_the_limit(tmp_path: Path) -> None:
    async with inside(tmp_path, max_streams_per_owner=3) as alice:
        task_id = await alice.submit(HANG)

        async def read() -> int:
            async with alice.open("GET", f"/api/tasks/{task_id}/stream") as response:
                if response.status == 200:
                    await response.read_to_end()
                return response.status

        readers = [asyncio.create_task(read()) for _ in range(12)]
        await until(lambda: _count(readers, 9), "nine were refused")
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")
        assert sorted(await asyncio.gather(*readers)) == [200] * 3 + [429] * 9
        posts = [alice.call("POST", STREAM, HANG) for _ in range(12)]
        running = [asyncio.create_task(post) for post in posts]
        await until(lambda: _count(running, 9), "nine were refused")
        for entry in (await alice.get("/api/tasks/active"))["tasks"]:
            await alice.call("POST", f"/api/tasks/{entry['taskId']}/cancel")
        answers = await asyncio.gather(*running)
        assert sorted(answer.status for answer in answers) == [200] * 3 + [429] * 9
        assert len((await alice.get("/api/tasks"))["tasks"]) == 4


async def _count(readers: Sequence[asyncio.Task[Any]], wanted: int) -> bool:
    return sum(reader.done() for reader in readers) >= wanted


async def test_a_stream_ends_with_its_token_and_a_new_token_goes_on(tmp_path: Path) -> None:
    async with inside(tmp_path, keepalive_seconds=0.1) as alice:
        short = Client(alice.port, token(ttl_seconds=2))
        async with short.open("POST", STREAM, HANG) as response:
            body = await response.read_to_end()
            assert response.ended  # by the server, and in good order
        assert end_frame(body) is None
        seen = frames(body)
        assert types(seen) == ["task_created", "agent_start", "agent_progress"]
        task_id = seen[0].data["taskId"]
        path = f"/api/tasks/{task_id}/stream"
        assert (await short.call("GET", path)).status == 401
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")
        rest = await alice.call("GET", path, headers=[("Last-Event-ID", str(seen[-1].seq))])
        assert joined(seen) + joined(frames(rest.body)) == joined(await alice.log(task_id))


async def test_a_reader_of_a_task_that_is_deleted_gets_no_end_frame(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(big(7))
        await alice.reaches(task_id, "completed")
        path = f"/api/tasks/{task_id}"
        async with alice.open("GET", f"{path}/stream") as response:
            await response.read_until(lambda body: b"00000003" in body)
            assert (await alice.call("DELETE", path)).status == 204
            body = await response.read_to_end()
            assert response.ended
        assert end_frame(body) is None
        assert "task_complete" not in types(frames(body))
        assert (await alice.call("GET", f"{path}/stream")).status == 404


async def test_a_reader_that_fell_behind_the_memory_catches_up_from_the_log(tmp_path: Path) -> None:
    async with inside(tmp_path, channel_bytes=100_000) as alice:
        async with alice.open("POST", STREAM, big(6)) as response:
            task_id = str(response.header("x-task-id"))
            await alice.reaches(task_id, "completed")  # while nothing is read
            body = await response.read_to_end()
        assert joined(frames(body)) == joined(await alice.log(task_id))
        assert end_frame(body) == ("complete", {"taskId": task_id})


async def test_a_reader_that_takes_nothing_for_too_long_is_cut_and_may_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.UNDRAINED_SECONDS", 0.2)
    async with inside(tmp_path, keepalive_seconds=0.1, max_streams_per_owner=1) as alice:
        task_id = await alice.submit(big(12))
        await alice.reaches(task_id, "completed")
        path = f"/api/tasks/{task_id}/stream"
        async with alice.open("GET", path, buffer=2**14) as idle:
            assert await idle.read()

            end = (await alice.get(f"/api/tasks/{task_id}"))["lastEventId"]

            async def admitted() -> bool:
                return (await alice.call("GET", f"{path}?after={end}")).status == 204

            await until(admitted, "its place is free again")
            seen = frames(await idle.read_to_end())
            assert not idle.ended
        rest = await alice.log(task_id, after=seen[-1].seq)
        root = Client(alice.port, token("root", "admin"))
        assert joined([*seen, *rest]) == joined(await root.log(task_id))


async def test_a_reader_that_does_not_take_the_last_write_is_cut_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.UNDRAINED_SECONDS", 0.2)
    monkeypatch.setattr("orchestrator.runtime.assembly.MAX_BYTES", 8 * 2**20)
    async with inside(tmp_path, keepalive_seconds=0.1, max_streams_per_owner=1) as alice:
        task_id = await alice.submit(big(12))
        await alice.reaches(task_id, "completed")
        path = f"/api/tasks/{task_id}/stream"
        async with alice.open("GET", path, buffer=2**14) as idle:
            assert await idle.read()  # of the first write; the second one has the end
            await until(lambda: _is_free(alice, task_id), "its place is free again")
            await idle.read_to_end()
            assert not idle.ended


async def test_a_reader_that_takes_nothing_is_cut_though_its_token_ended_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.streaming.UNDRAINED_SECONDS", 1.2)
    async with inside(tmp_path, keepalive_seconds=0.1, max_streams_per_owner=1) as alice:
        task_id = await alice.submit(big(12))
        await alice.reaches(task_id, "completed")
        short = Client(alice.port, token(ttl_seconds=1))
        path = f"/api/tasks/{task_id}/stream"
        async with short.open("GET", path, buffer=2**14) as idle:
            assert await idle.read()
            await until(lambda: _is_free(alice, task_id), "its place is free again")
            await idle.read_to_end()
            assert not idle.ended


async def _is_free(client: Client, task_id: str) -> bool:
    """Whether the owner may open one more stream."""
    end = (await client.get(f"/api/tasks/{task_id}"))["lastEventId"]
    path = f"/api/tasks/{task_id}/stream?after={end}"
    return (await client.call("GET", path)).status == 204


@pytest.mark.parametrize("channel_bytes", [0, 1, 1000, 10_000, 64 * 2**20])
async def test_memory_of_any_size_changes_nothing_that_readers_see(
    tmp_path: Path, channel_bytes: int
) -> None:
    async with inside(tmp_path, channel_bytes=channel_bytes) as alice:
        parts = [
            {"agent": f"scripted-{n}", "repeat": 40, "delay": 0.003, "nonce": True, "kind": kind}
            for n, kind in enumerate(["message", "content"], start=1)
        ]
        bodies = [task(*parts, executionMode="parallel") for _ in range(5)]
        answers = await asyncio.gather(*(alice.call("POST", STREAM, body) for body in bodies))
        for answer in answers:
            log = await alice.log(str(answer.header("x-task-id")))
            assert joined(frames(answer.body)) == joined(log)
            assert end_frame(answer.body) is not None


class Pause:
    """Holds the writer after a commit, before anybody on the loop hears of it."""

    def __init__(self) -> None:
        self.armed = threading.Event()
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def __call__(self, point: str) -> None:
        if point == "after_commit" and self.armed.is_set():
            self.reached.set()
            assert self.go_on.wait(30)


async def test_a_reader_that_finds_the_end_in_the_log_first_still_gets_the_end_frame(
    tmp_path: Path,
) -> None:
    pause = Pause()
    async with inside(tmp_path, at=pause, channel_bytes=0) as alice:
        body = big(7)
        body |= {"selectedAgents": ["scripted-1", "gate"]}
        body |= {"inputs": {**body["inputs"], "gate": str(tmp_path / "open")}}  # type: ignore[dict-item]
        async with alice.open("POST", STREAM, body) as response:
            task_id = str(response.header("x-task-id"))
            await until(lambda: _waits(alice, task_id), "the gate waits")
            pause.armed.set()
            (tmp_path / "open").touch()
            await until(lambda: _is_set(pause.reached), "the end is committed")
            await response.read_until(lambda received: b'"waiting"' in received[-4000:])
            pause.go_on.set()
            received = await response.read_to_end()
        assert end_frame(received) == ("complete", {"taskId": task_id})
        assert joined(frames(received)) == joined(await alice.log(task_id))


async def test_a_commit_nobody_heard_of_yet_makes_no_reader_spin(tmp_path: Path) -> None:
    pause = Pause()
    async with inside(tmp_path, at=pause) as alice:
        body = task({"agent": "scripted-1", "texts": ["one"]}, **gate(tmp_path))
        async with alice.open("POST", STREAM, body) as live:
            await live.read_until(lambda received: b"waiting" in received)
            task_id = str(live.header("x-task-id"))
            pause.armed.set()
            (tmp_path / "open").touch()
            await until(lambda: _is_set(pause.reached), "the end is committed")
            path = f"/api/tasks/{task_id}/stream?after=2"
            async with alice.open("GET", path) as late:
                await late.read_until(lambda received: b"waiting" in received)
                pause.go_on.set()
                received = await late.read_to_end()
            assert received.count(KEEPALIVE) == 1
            assert end_frame(received) == ("complete", {"taskId": task_id})
            assert end_frame(await live.read_to_end()) == ("complete", {"taskId": task_id})


async def _waits(client: Client, task_id: str) -> bool:
    agents = (await client.get(f"/api/tasks/{task_id}"))["agents"]
    return any(agent["content"] == "waiting" for agent in agents)


async def _is_set(event: threading.Event) -> bool:
    return event.is_set()
