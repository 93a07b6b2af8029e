"""Tickets: they open one stream for some minutes, and nothing else, and stand in no log."""

from __future__ import annotations

import base64
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.auth import ADMIN, READ, Principal, Tickets
from api.errors import Unauthorized
from tests.e2e.client import Client, frames, joined, task, until
from tests.e2e.serving import inside, process, token
from tests.server import ServerProcess

TWO = task({"agent": "scripted-1", "texts": ["one", "two"]})
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
ALL = ("tasks:read", "tasks:execute")


async def ticket_for(client: Client, task_id: str) -> str:
    answer = await client.call("POST", "/api/stream-tickets", {"taskId": task_id})
    assert answer.status == 201, answer
    assert answer.header("cache-control") == "no-store"
    assert answer.json().keys() == {"ticket", "expiresAt"}
    return str(answer.json()["ticket"])


async def test_a_ticket_reads_its_stream_as_often_as_it_is_cut(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        log = await alice.log(task_id)
        path = f"/api/tasks/{task_id}/stream?ticket={await ticket_for(alice, task_id)}"
        stranger = Client(alice.port)
        assert joined(frames((await stranger.call("GET", path)).body)) == joined(log)
        for after in range(1, len(log)):
            answer = await stranger.call("GET", path, headers=[("Last-Event-ID", str(after))])
            assert joined(frames(answer.body)) == joined(log[after:])
        assert (await stranger.call("GET", f"{path}&after={len(log)}")).status == 204
        assert (await stranger.call("HEAD", path)).status == 405


async def test_a_ticket_lasts_fifteen_minutes_and_never_longer_than_the_token(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        for seconds, expected in ((3600, 900), (60, 60)):
            client = Client(alice.port, token(ttl_seconds=seconds))
            answer = await client.call("POST", "/api/stream-tickets", {"taskId": task_id})
            ends = datetime.fromisoformat(answer.json()["expiresAt"]).timestamp()
            assert expected - 5 <= ends - time.time() <= expected


async def test_the_stream_ends_with_the_ticket(tmp_path: Path) -> None:
    async with inside(tmp_path, keepalive_seconds=0.1) as alice:
        task_id = await alice.submit(HANG)
        brief = Client(alice.port, token(ttl_seconds=2))
        path = f"/api/tasks/{task_id}/stream?ticket={await ticket_for(brief, task_id)}"
        stranger = Client(alice.port)
        async with stranger.open("GET", path) as response:
            await response.read_to_end()
            assert response.ended
        assert (await stranger.call("GET", path)).status == 401
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")


async def test_a_ticket_opens_nothing_else(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id, other = await alice.submit(TWO), await alice.submit(TWO)
        ticket = await ticket_for(alice, task_id)
        stranger = Client(alice.port)
        stream = f"/api/tasks/{task_id}/stream"
        for method, path, body in (
            ("GET", f"/api/tasks/{other}/stream", None), ("GET", f"/api/tasks/{task_id}", None),
            ("GET", f"/api/tasks/{task_id}/events", None), ("GET", "/api/tasks", None),
            ("GET", f"/api/tasks/{task_id}/artifacts", None), ("GET", "/api/agents", None),
            ("POST", f"/api/tasks/{task_id}/cancel", None), ("POST", "/api/tasks", TWO),
            ("DELETE", f"/api/tasks/{task_id}", None), ("POST", "/execute/stream", TWO),
            ("POST", "/api/stream-tickets", {"taskId": task_id}),
            ("PUT", f"/api/tasks/{task_id}/shares", {"subjects": "everyone"}),
        ):  # fmt: skip
            for client in (stranger, alice):  # not even beside a token
                answer = await client.call(method, f"{path}?ticket={ticket}", body)
                assert (answer.status, answer.slug) == (401, "unauthorized"), (method, path)
        for value in (f"Bearer {ticket}", f"Ticket {ticket}"):
            headers = [("Authorization", value)]
            assert (await stranger.call("GET", stream, headers=headers)).status == 401
        good = str(alice.token)
        for query in (
            f"ticket={good}", f"token={ticket}", f"ticket={ticket}&token={good}", "ticket=",
            f"ticket={ticket}&ticket={ticket}", f"Ticket={ticket}", f"x={good}&ticket={ticket}",
            f"ticket={ticket}x", f"ticket={ticket[:-1]}", f"ticket={ticket.partition('.')[0]}.",
            f"ticket=.{ticket.partition('.')[2]}", "ticket=x", "ticket=.", f"ticket={'a' * 5000}",
        ):  # fmt: skip
            answer = await stranger.call("GET", f"{stream}?{query}")
            assert (answer.status, answer.slug) == (401, "unauthorized"), query
        beside = await alice.call("GET", f"{stream}?ticket={ticket}")
        assert beside.status == 401, "a token and a ticket: which of them counts?"


async def test_tickets_for_what_the_caller_may_not_read_and_odd_wishes(tmp_path: Path) -> None:
    ghost = "00000000-0000-4000-8000-000000000000"
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        bob = Client(alice.port, token("bob"))
        foreign = await bob.call("POST", "/api/stream-tickets", {"taskId": task_id})
        none = await bob.call("POST", "/api/stream-tickets", {"taskId": ghost})
        assert (foreign.status, foreign.body) == (404, none.body)
        for body, pointer in (
            ({}, ""), ({"taskId": task_id, "runnerLog": True}, ""), ({"runnerLog": False}, None),
            ({"taskId": 5}, "/taskId"), ({"taskId": ""}, "/taskId"), ({"log": True}, "/log"),
            ({"taskId": "x" * 65}, "/taskId"), ([], ""), ({"taskId": None}, ""),
        ):  # fmt: skip
            answer = await alice.call("POST", "/api/stream-tickets", body)
            assert (answer.status, answer.slug) == (422, "invalid-request"), body
            found = answer.json()["errors"][0]["pointer"]
            assert found == ("/runnerLog" if pointer is None else pointer), body
        log = await alice.call("POST", "/api/stream-tickets", {"runnerLog": True})
        assert log.status == 201
        path = f"/api/tasks/{task_id}/stream?ticket={log.json()['ticket']}"
        assert (await Client(alice.port).call("GET", path)).status == 401
        writer = Client(alice.port, token("alice", "tasks:execute"))
        refused = await writer.call("POST", "/api/stream-tickets", {"taskId": task_id})
        assert (refused.status, refused.slug) == (403, "forbidden")


async def test_tickets_of_readers_end_with_the_share_and_those_of_admins_read_everything(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(HANG)
        bob = Client(alice.port, token("bob"))
        root = Client(alice.port, token("root", "admin"))
        shares = f"/api/tasks/{task_id}/shares"
        await alice.call("PUT", shares, {"subjects": ["bob"]})
        path = f"/api/tasks/{task_id}/stream?ticket="
        of_bob, of_root = await ticket_for(bob, task_id), await ticket_for(root, task_id)
        stranger = Client(alice.port)
        async with (
            stranger.open("GET", path + of_bob) as lost,
            stranger.open("GET", path + of_root) as kept,
        ):
            for response in (lost, kept):
                await response.read_until(lambda body: b"here" in body)
            await alice.call("PUT", shares, {"subjects": []})
            await lost.read_to_end()
            assert lost.ended
            assert (await stranger.call("GET", path + of_bob)).status == 404
            await alice.call("POST", f"/api/tasks/{task_id}/cancel")
            assert frames(await kept.read_to_end())[-1].type == "task_error"


async def test_a_ticket_outlives_a_crash_and_stands_in_no_log(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start()
        alice = Client(server.port, token())
        task_id = await alice.submit(TWO)
        await alice.reaches(task_id, "completed")
        ticket = await ticket_for(alice, task_id)
        path = f"/api/tasks/{task_id}/stream?ticket={ticket}"
        stranger = Client(server.port)
        assert (await stranger.call("GET", path)).status == 200
        refused = await stranger.call("GET", f"/api/tasks?ticket={ticket}")
        assert refused.status == 401
        assert ticket.encode() not in refused.body
        await logged(server, f"/api/tasks/{task_id}/stream")
        before = server.stderr
        server.restart()  # after a SIGKILL
        assert (await stranger.call("GET", path)).status == 200
        await logged(server, f"/api/tasks/{task_id}/stream")
        for part in ticket.split("."):
            assert part not in before + server.stderr


async def logged(server: ServerProcess, text: str) -> None:
    """Wait until the log of a server has a text."""

    async def found() -> bool:
        return text in server.stderr

    await until(found, "the request is logged")


async def test_who_brings_a_ticket_before_there_is_one_writes_nothing(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = Client(alice.port, token("root", "admin"))
        task_id = await alice.submit(TWO)
        await alice.reaches(task_id, "completed")

        async def commits() -> bytes:
            text = (await root.call("GET", "/metrics")).body
            return text.partition(b"poststream_commits_total ")[2].partition(b"\n")[0]

        before = await commits()
        path = f"/api/tasks/{task_id}/stream?ticket="
        for ticket in ("a.b", "", "x"):
            assert (await Client(alice.port).call("GET", path + ticket)).status == 401
        assert await commits() == before
        made = await ticket_for(alice, task_id)
        assert (await Client(alice.port).call("GET", path + made)).status == 200


# -- by hand ---------------------------------------------------------------------------------------


def tickets(now: float, key: bytes = b"k" * 32) -> Tickets:
    async def find(make: bool) -> bytes:
        return key

    return Tickets(find, wall_seconds=lambda: now)


ANN = Principal("ann", frozenset({READ, "tasks:execute"}), 10_000.0)


@pytest.mark.parametrize("field", range(4))
async def test_nothing_in_a_ticket_can_be_changed(field: int) -> None:
    made = await tickets(1000.0).issue(ANN, "tasks/1")
    body, signature = made.text.split(".")
    claims: list[Any] = orjson.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    claims[field] = ["root", True, "tasks/2", 10**15][field]
    forged = base64.urlsafe_b64encode(orjson.dumps(claims)).rstrip(b"=").decode()
    with pytest.raises(Unauthorized):
        await tickets(1000.0).authenticate(f"{forged}.{signature}".encode(), "tasks/2", [], b"")


async def test_a_ticket_reads_whatever_its_maker_may() -> None:
    made = await tickets(1000.0).issue(ANN, "tasks/1")
    found = await tickets(1899.9).authenticate(made.text.encode(), "tasks/1", [], b"")
    assert found == Principal("ann", frozenset({READ}), 1900.0)
    root = Principal("root", frozenset({ADMIN}), 1060.5)
    made = await tickets(1000.0).issue(root, "runner-log")
    found = await tickets(1060.0).authenticate(made.text.encode(), "runner-log", [], b"")
    assert found == Principal("root", frozenset({READ, ADMIN}), 1060.5)
    for now, key in ((1060.5, b"k" * 32), (1000.0, b"x" * 32)):
        with pytest.raises(Unauthorized):
            await tickets(now, key).authenticate(made.text.encode(), "runner-log", [], b"")
