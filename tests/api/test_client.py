"""The client against a real server over bad lines, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import io
import random
import socket
import subprocess
import sys
from typing import Any

import httpx
import orjson
import pytest

from api.client import (
    DELAYS,
    Client,
    ClientError,
    ServerError,
    StreamedEvent,
    TaskStream,
    Unreachable,
)
from orchestrator.events import AgentProgress, TaskComplete
from tests.answers import Answers, http, stream
from tests.proxy import Line, Proxy
from tests.server import ROOT, ServerProcess

QUICK = (0.01, 0.02)


def body(*texts: str, **part: Any) -> dict[str, Any]:
    script = [{"agent": "scripted-1", "texts": list(texts), **part}]
    return {
        "description": "A task",
        "selectedAgents": ["scripted-1"],
        "inputs": {"script": script},
    }


def quick(server: ServerProcess, url: str = "", **options: Any) -> Client:
    return Client(url or server.url, server.token(), **{"delays": QUICK, **options})


async def everything(events: TaskStream) -> list[StreamedEvent]:
    async with events:
        return [event async for event in events]


async def log_of(server: ServerProcess, task_id: str) -> list[dict[str, Any]]:
    async with httpx.AsyncClient(headers=server.headers(), trust_env=False) as client:
        page = await client.get(f"{server.url}/api/tasks/{task_id}/events?limit=1000")
        return list(page.json()["events"])


# --- the ordinary day ------------------------------------------------------------------------


async def test_a_task_is_followed_from_its_first_event_to_its_last(server: ServerProcess) -> None:
    async with quick(server) as client:
        events = client.submit_stream(body("one", "two"))
        assert events.task_id == ""
        came = await everything(events)
    assert [event.type for event in came] == [
        "task_created", "agent_start", "agent_progress", "agent_progress", "agent_complete",
        "task_complete",
    ]  # fmt: skip
    assert [event.seq for event in came] == [1, 2, 3, 4, 5, 6]
    assert [event.fields for event in came] == await log_of(server, events.task_id)
    progress, end = came[2].model, came[-1].model
    assert isinstance(progress, AgentProgress)
    assert progress.message == "one"
    assert isinstance(end, TaskComplete)
    assert end.task_id == events.task_id


async def test_the_text_of_an_event_is_the_one_of_the_log(server: ServerProcess) -> None:
    text = 'ü 漢 \u2028 \\ " 😀'
    async with quick(server) as client:
        events = client.submit_stream(body(text))
        came = await everything(events)
        raw = await client.open("GET", f"/api/tasks/{events.task_id}/stream", {})
        data = await raw.aread()
        await raw.aclose()
    assert came[2].fields["message"] == text
    assert all(f"data: {event.data}\n".encode() in data for event in came)


async def test_a_task_is_found_again_by_its_id_and_cursor(server: ServerProcess) -> None:
    async with quick(server) as client:
        first = await everything(client.submit_stream(body("one")))
        task_id = first[0].fields["taskId"]
        assert await everything(client.follow(task_id)) == first
        assert await everything(client.follow(task_id, after=2)) == first[2:]
        assert await everything(client.follow(task_id, after=len(first))) == []


async def test_who_leaves_early_does_not_stop_the_task(server: ServerProcess) -> None:
    async with quick(server) as client:
        async with client.submit_stream(body("a", "b", "c", delay=0.05)) as events:
            async for event in events:
                if event.type == "agent_start":
                    break
        with pytest.raises(StopAsyncIteration):
            await anext(events)
        rest = await everything(client.follow(events.task_id, after=events.last_event_id))
        assert rest[-1].type == "task_complete"
        assert [event.seq for event in rest] == list(range(3, 3 + len(rest)))


async def test_the_same_key_names_the_same_task(server: ServerProcess) -> None:
    async with quick(server) as client:
        one = client.submit_stream(body("a"), idempotency_key="mine")
        two = client.submit_stream(body("a"), idempotency_key="mine")
        assert await everything(one) == await everything(two)
        assert client.submit_stream({}).idempotency_key != client.submit_stream({}).idempotency_key


async def test_snapshot_cancel_agents_and_download(server: ServerProcess) -> None:
    async with quick(server) as client:
        async with client.submit_stream(body("a", outcome="hang")) as events:
            await anext(events)
            assert (await client.snapshot(events.task_id))["taskId"] == events.task_id
            assert await events.cancel() in ("cancelling", "cancelled")
            came = [event async for event in events]
            assert came[-1].fields["status"] == "cancelled"
            assert await events.cancel() == "cancelled"  # again is harmless
        agents = {agent["agentRole"]: agent for agent in await client.agents()}
        assert agents["writer"]["kind"] == "command"

        request = {"description": "d", "selectedAgents": ["writer"]}
        end = (await everything(client.submit_stream(request)))[-1]
        assert end.type == "task_complete"
        with pytest.raises(ServerError) as over:
            await client.cancel(end.fields["taskId"], last_event_id=end.seq)
        assert over.value.slug == "conflict"
        file = io.BytesIO()
        size = await client.download(end.fields["taskId"], "writer", "report.md", file)
        assert (size, file.getvalue()) == (21, b"content of the report")
        with pytest.raises(ServerError) as none:
            await client.download(end.fields["taskId"], "writer", "../secret", file)
        assert none.value.status == 404


async def test_pause_resume_and_retry_act_on_what_the_caller_has_seen(
    server: ServerProcess,
) -> None:
    async with quick(server) as client:
        async with client.submit_stream(body("a", outcome="hang")) as events:
            await until_said(events, "a")
            assert await events.pause(stop_now=True) in ("pausing", "paused")
            await until_state(events, "paused")
            assert await client.pause(events.task_id) == "paused"  # looks the cursor up first
            assert await events.resume() == "queued"
            with pytest.raises(ServerError) as late:
                await events.pause()  # of a task this stream has not seen go on
            assert (late.value.status, late.value.slug) == (409, "conflict")
            await until_said(events, "a")
            assert await events.cancel() == "cancelling"
            async for _ in events:
                pass
            assert await events.retry() == "queued"
            assert await client.retry(events.task_id, last_event_id=events.last_event_id) in (
                "queued", "running",
            )  # fmt: skip
        async with client.follow(events.task_id, after=events.last_event_id) as again:
            await until_said(again, "a")
            assert again.last_event_id > events.last_event_id
            assert await client.pause(events.task_id) == "pausing"
            assert await client.resume(events.task_id) == "running"
            await client.cancel(events.task_id)
            ends = [event.type async for event in again]
            assert ends[-1] == "task_error"


async def until_said(events: TaskStream, words: str) -> None:
    async for event in events:
        if event.fields.get("message") == words:
            return
    raise AssertionError


async def until_state(events: TaskStream, state: str) -> None:
    async for event in events:
        if event.fields.get("state") == state:
            return
    raise AssertionError


# --- bad lines -------------------------------------------------------------------------------


async def test_lost_connections_lose_and_repeat_nothing(server: ServerProcess) -> None:
    chance = random.Random(7)
    lines = [Line(cut_after=chance.randrange(300, 900), reset=n % 3 == 0) for n in range(12)]
    request = body(*(f"text {n}" for n in range(40)), delay=0.01)
    async with Proxy(server.port, lines) as proxy, quick(server, proxy.url) as client:
        events = client.submit_stream(request)
        came = await everything(events)
        assert [event.fields for event in came] == await log_of(server, events.task_id)
        assert came[-1].type == "task_complete"
        assert proxy.requests("POST") == 1
        assert proxy.requests("GET") > 5


async def test_a_slow_line_that_cuts_inside_of_frames_changes_nothing(
    server: ServerProcess,
) -> None:
    lines = [Line(piece=1, cut_after=700), Line(piece=3, cut_after=500), Line(piece=1)]
    async with Proxy(server.port, lines) as proxy, quick(server, proxy.url) as client:
        events = client.submit_stream(body("ü", "漢", "😀", "a" * 50))
        came = await everything(events)
        assert [event.fields for event in came] == await log_of(server, events.task_id)
        assert len(proxy.answered) == 3


@pytest.mark.parametrize("reset", [False, True])
async def test_a_post_whose_answer_never_came_is_repeated_with_its_key(
    server: ServerProcess, reset: bool
) -> None:
    lines = [Line(cut_after=0, reset=reset), Line(cut_after=0), Line(cut_after=40)]
    async with Proxy(server.port, lines) as proxy, quick(server, proxy.url) as client:
        events = client.submit_stream({**body("once"), "metadata": {"test": f"post-{reset}"}})
        came = await everything(events)
        assert came[-1].type == "task_complete"
        assert proxy.requests("POST") == 4
        tasks = await client._json("GET", f"/api/tasks?metadata.test=post-{reset}")
        assert [task["taskId"] for task in tasks["tasks"]] == [events.task_id]


async def test_a_plug_that_is_pulled_and_put_back(server: ServerProcess) -> None:
    lost: asyncio.Queue[tuple[str, float]] = asyncio.Queue()
    async with Proxy(server.port) as proxy:
        client = quick(server, proxy.url, on_lost=lambda *what: lost.put_nowait(what))
        async with client, client.submit_stream(body("a", "b", "c", "d", delay=0.1)) as events:
            first = [await anext(events) for _ in range(2)]
            await proxy.close()
            reading = asyncio.ensure_future(anext(events))
            losses = [await lost.get() for _ in range(3)]
            await proxy.open()
            rest = [await reading, *[event async for event in events]]
    assert [event.seq for event in first + rest] == list(range(1, 9))
    assert [seconds for _, seconds in losses] == [0.01, 0.02, 0.02]
    assert all(reason for reason, _ in losses)


async def test_a_server_that_is_killed_is_found_again_after_its_restart(
    server: ServerProcess,
) -> None:
    async with quick(server) as client:
        async with client.submit_stream(body("a", "b", delay=0.2)) as events:
            came = [await anext(events) for _ in range(3)]
            await asyncio.to_thread(server.restart)
            came += [event async for event in events]
        assert [event.fields for event in came] == await log_of(server, events.task_id)
    assert [event.seq for event in came] == list(range(1, len(came) + 1))
    assert "task_state" in [event.type for event in came]
    assert came[-1].type == "task_complete"


async def test_a_silent_connection_counts_as_lost(server: ServerProcess) -> None:
    lost: list[str] = []
    client = quick(server, silence_seconds=0.05, on_lost=lambda reason, _: lost.append(reason))
    async with client:
        came = await everything(client.submit_stream(body("a", delay=0.15)))
    assert came[-1].type == "task_complete"
    assert lost
    assert all("Timeout" in reason for reason in lost)


# --- servers that misbehave ------------------------------------------------------------------


def event(seq: int, type: str = "agent_progress", **fields: Any) -> bytes:
    data = orjson.dumps({"type": type, "taskId": "t", "seq": seq, **fields}).decode()
    return f"id: {seq}\nevent: {type}\ndata: {data}\n\n".encode()


END = b'event: complete\ndata: {"taskId":"t"}\n\n'
COMPLETE = event(3, "task_complete") + END


async def follow(answers: list[bytes], **options: Any) -> tuple[list[int], list[bytes]]:
    """The numbers that came, and the requests they took."""
    async with Answers(answers) as server:
        async with Client(server.url, "a.b.c", delays=QUICK, **options) as client:
            came = await everything(client.follow("t"))
        return [event.seq for event in came], server.requests


async def test_events_that_come_again_are_dropped() -> None:
    seqs, _ = await follow([stream(event(1) + event(1) + event(2) + event(1) + COMPLETE)])
    assert seqs == [1, 2, 3]


async def test_a_gap_is_a_lost_connection() -> None:
    seqs, requests = await follow([stream(event(1) + COMPLETE), stream(event(2) + COMPLETE)])
    assert seqs == [1, 2, 3]
    assert b"last-event-id: 1\r\n" in requests[1].lower()


async def test_an_answer_that_just_ends_is_a_lost_connection() -> None:
    answers = [stream(b""), stream(event(1)), stream(event(2)[:-1]), stream(event(2) + COMPLETE)]
    waits: list[float] = []
    seqs, requests = await follow(answers, on_lost=lambda _, seconds: waits.append(seconds))
    assert seqs == [1, 2, 3]
    assert waits == [0.01, 0.01, 0.02], "from the beginning again after each event"
    assert b"last-event-id" not in requests[1].lower()
    assert b"last-event-id: 1\r\n" in requests[3].lower()


async def test_without_an_end_frame_a_terminal_event_is_an_end_once_nobody_knows_more() -> None:
    over = event(1) + event(2, "task_error", status="failed")
    retried = event(3, "task_state", state="queued") + event(4, "task_complete") + END
    assert (await follow([stream(over), http(204)]))[0] == [1, 2]
    assert (await follow([stream(over), stream(retried)]))[0] == [1, 2, 3, 4]
    assert (await follow([stream(over)]))[0] == [1, 2]
    gone = http(404, b'{"type":"/problems/not-found","title":"Not found"}')
    assert (await follow([stream(over), gone]))[0] == [1, 2]


async def test_events_of_newer_servers_pass_and_messages_without_number_do_not() -> None:
    strange = b"data: x\n\nid: x\ndata: y\n\nevent: other\ndata: z\n\n"
    seqs, _ = await follow([stream(strange + event(1, "agent_dance") + event(2) + COMPLETE)])
    assert seqs == [1, 2, 3]


async def test_a_busy_server_is_asked_again_a_refusal_is_not() -> None:
    busy = b'{"type":"/problems/draining","title":"Shutting down","detail":"Later."}'
    answers = [
        http(503, busy),
        http(502, b"<html>"),
        http(429),
        stream(event(1) + event(2) + COMPLETE),
    ]
    assert (await follow(answers))[0] == [1, 2, 3]
    with pytest.raises(ServerError) as refused:
        await follow([http(403, b'{"type":"/problems/forbidden","title":"No","detail":"No!"}')])
    assert (refused.value.status, refused.value.slug, str(refused.value)) == (
        403,
        "forbidden",
        "No!",
    )


async def test_retry_after_is_kept_to_within_reason() -> None:
    for asked, kept in (("7", 7.0), ("86400", 60.0), ("0", 0.01), ("soon", 0.01)):
        waits: asyncio.Queue[float] = asyncio.Queue()
        async with Answers([http(503, retry_after=asked)]) as server:
            told = lambda _, seconds, waits=waits: waits.put_nowait(seconds)  # noqa: E731
            async with Client(server.url, "a.b.c", delays=QUICK, on_lost=told) as client:
                reading = asyncio.ensure_future(everything(client.follow("t")))
                assert await waits.get() == kept
                reading.cancel()
                await asyncio.wait([reading])


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_post_that_a_gateway_answered_is_repeated(status: int) -> None:
    answers = [http(status, b"<html>"), stream(event(1) + event(2) + COMPLETE, x_task_id="t")]
    async with Answers(answers) as server, Client(server.url, "a.b.c", delays=QUICK) as client:
        events = client.submit_stream({"description": "d"})
        assert len(await everything(events)) == 3
        first, second = server.requests
        assert first == second
        assert first.endswith(b'{"description":"d"}')
        assert f"idempotency-key: {events.idempotency_key}\r\n".encode() in first.lower().replace(
            (events.idempotency_key or "").lower().encode(), (events.idempotency_key or "").encode()
        )


async def test_a_post_that_the_server_refused_is_not_repeated() -> None:
    draining = b'{"type":"/problems/draining","title":"Shutting down","detail":"Later."}'
    async with Answers([http(503, draining)]) as server, Client(server.url, "a.b.c") as client:
        with pytest.raises(ServerError) as refused:
            await everything(client.submit_stream({}))
        assert refused.value.slug == "draining"
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        http(200, b"<html>hello</html>", content_type="text/html"),
        http(404, b"<html>not here</html>"),
        http(401, b"[]"),
        http(301, location="http://localhost/"),
    ],
)
async def test_an_answer_of_something_else_is_said_to_be_one(answer: bytes) -> None:
    with pytest.raises(ServerError, match="no answer of a Poststream server") as error:
        await follow([answer])
    assert error.value.slug == ""
    async with Answers([answer]) as server, Client(server.url, "a.b.c") as client:
        with pytest.raises(ServerError, match=r"no .*Poststream server"):
            await client.agents()


async def test_an_endless_event_is_refused() -> None:
    with pytest.raises(ClientError, match="no event"):
        await follow([stream(b"data: " + b"x" * 9_000_000)])


# --- refused, unreachable --------------------------------------------------------------------


async def test_errors_carry_status_slug_detail_and_fields(server: ServerProcess) -> None:
    async with quick(server) as client:
        with pytest.raises(ServerError) as invalid:
            await everything(client.submit_stream({"description": "d", "selectedAgents": ["x"]}))
        assert (invalid.value.status, invalid.value.slug) == (422, "invalid-request")
        assert invalid.value.errors[0]["pointer"] == "/selectedAgents/0"
        for call in (client.snapshot("t"), client.cancel("../../healthz"), client.snapshot("a/b")):
            with pytest.raises(ServerError) as none:
                await call
            assert (none.value.status, none.value.slug) == (404, "not-found")
        task = (await everything(client.submit_stream(body())))[0].fields["taskId"]
        with pytest.raises(ServerError) as beyond:
            await everything(client.follow(task, after=99))
        assert beyond.value.slug == "cursor-beyond-end"
    async with Client(server.url, "no.good.token") as client:
        with pytest.raises(ServerError) as stranger:
            await client.agents()
        assert (stranger.value.status, stranger.value.slug) == (401, "unauthorized")


async def test_an_address_where_nobody_is_fails_at_once() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
        async with Client(address, "a.b.c") as client:
            with pytest.raises(Unreachable, match=r"127\.0\.0\.1"):
                await everything(client.submit_stream({}))
            with pytest.raises(Unreachable):
                await client.agents()


async def test_a_server_that_stays_away_is_given_up() -> None:
    waits: list[float] = []
    with pytest.raises(Unreachable, match="away for too long"):
        await follow(
            [stream(event(1))],
            give_up_seconds=0.1,
            on_lost=lambda _, seconds: waits.append(seconds),
        )
    assert waits[:3] == [0.01, 0.02, 0.02]
    assert DELAYS == (1, 2, 4, 8, 10)


@pytest.mark.parametrize(
    "address",
    ["", "localhost", "localhost:8000", "ftp://x", "http://", "http://[::1", "http://a b"],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ClientError, match="no address"):
        Client(address, "a.b.c")


@pytest.mark.parametrize("token", ["", " ", "a b", "ü", "a\nb"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(ClientError, match="token"):
        Client("http://localhost", token)


def test_the_client_imports_nothing_of_a_server() -> None:
    unwanted = {"starlette", "uvicorn", "jose", "typer", "structlog", "sqlmodel", "sqlite3"}
    code = (
        "import sys, api.client\n"
        "ours = {name for name in sys.modules if name.startswith('api.')}\n"
        "print(*sorted(ours))\n"
        f"print(*sorted({unwanted!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines() == ["api.client api.sse_reader api.task_stream", ""]
