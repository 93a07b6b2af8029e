"""Shares: who reads a task besides its owner, what they may not do, and when it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, frames, joined, task
from tests.e2e.serving import inside, token

TWO = task({"agent": "scripted-1", "texts": ["one", "two"]}, title="T")
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})
FILES = {"description": "x", "selectedAgents": ["librarian"], "inputs": {"files": {"a": "b"}}}


def named(alice: Client, subject: str, *scopes: str) -> Client:
    return Client(alice.port, token(subject, *scopes))


async def share(client: Client, task_id: str, subjects: Any) -> Any:
    answer = await client.call("PUT", f"/api/tasks/{task_id}/shares", {"subjects": subjects})
    assert answer.status == 200, answer
    return answer.json()


async def test_whom_a_task_is_shared_with_reads_all_of_it(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(FILES)
        log = joined(await alice.log(task_id))
        assert await share(alice, task_id, ["bob", "carol"]) == {
            "taskId": task_id, "subjects": ["bob", "carol"],
        }  # fmt: skip
        bob, path = named(alice, "bob"), f"/api/tasks/{task_id}"
        assert joined(await bob.log(task_id)) == log
        for part in ("", "/events", "/artifacts"):
            own, read = await alice.get(f"{path}{part}"), await bob.get(f"{path}{part}")
            own.pop("actions", None), read.pop("actions", None)
            assert own == read, part
        assert (await bob.call("GET", f"{path}/artifacts/librarian/a")).body == b"b"
        assert (await bob.call("GET", f"{path}/artifacts/librarian/none")).status == 404
        assert (await named(alice, "dora").call("GET", path)).status == 404


async def test_readers_are_told_that_they_may_only_read(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(HANG)
        path = f"/api/tasks/{task_id}"
        await share(alice, task_id, "everyone")
        bob = named(alice, "bob")
        for method, part, body in (
            ("POST", "/cancel", None), ("DELETE", "", None), ("GET", "/shares", None),
            ("PUT", "/shares", {"subjects": ["bob"]}),
        ):  # fmt: skip
            answer = await bob.call(method, f"{path}{part}", body)
            assert (answer.status, answer.slug) == (403, "forbidden"), (method, part)
            assert "only its owner" in answer.json()["detail"]
        snapshot = await bob.get(path)
        assert snapshot["owner"] == "alice"
        assert not any(action["allowed"] for action in snapshot["actions"].values())
        assert (await alice.get(path))["actions"]["cancel"]["allowed"]
        assert await alice.status(task_id) == "running"
        await alice.call("POST", f"{path}/cancel")


async def test_lists_of_what_is_shared_with_the_caller(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        ids = [await alice.submit(TWO) for _ in range(4)]
        bob, carol = named(alice, "bob"), named(alice, "carol")
        own = await bob.submit(TWO)
        await share(alice, ids[0], ["bob"])
        await share(alice, ids[1], "everyone")
        await share(alice, ids[2], ["carol", "bob"])
        await share(bob, own, ["bob", "carol"])

        async def listed(client: Client, query: str = "") -> list[str]:
            found = (await client.get(f"/api/tasks?scope=shared{query}"))["tasks"]
            assert not any(a["allowed"] for entry in found for a in entry["actions"].values())
            return [entry["taskId"] for entry in found]

        assert await listed(bob) == [ids[2], ids[1], ids[0]]
        assert await listed(carol) == [own, ids[2], ids[1]]
        assert await listed(alice) == []
        assert await listed(bob, "&limit=1") == [ids[2]]
        assert await listed(bob, "&q=nothing") == []
        mine = (await bob.get("/api/tasks"))["tasks"]
        assert [entry["taskId"] for entry in mine] == [own]
        assert (await carol.get("/api/tasks/active"))["tasks"] == []


async def test_an_empty_list_ends_sharing_and_the_streams_of_its_readers(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(HANG)
        path = f"/api/tasks/{task_id}/stream"
        bob, carol = named(alice, "bob"), named(alice, "carol")
        root = named(alice, "root", "admin")
        await share(alice, task_id, ["bob", "carol"])
        async with (
            bob.open("GET", path) as lost, carol.open("GET", path) as kept,
            root.open("GET", path) as admin, alice.open("GET", path) as own,
        ):  # fmt: skip
            for response in (lost, kept, admin, own):
                await response.read_until(lambda body: b"here" in body)
            await share(alice, task_id, ["carol"])
            assert b"event: error" not in await lost.read_to_end()
            assert lost.ended
            assert (await bob.call("GET", path)).status == 404
            await share(alice, task_id, [])
            await kept.read_to_end()
            assert kept.ended
            assert (await carol.call("POST", f"/api/tasks/{task_id}/cancel")).status == 404
            await alice.call("POST", f"/api/tasks/{task_id}/cancel")
            for response in (admin, own):
                assert frames(await response.read_to_end())[-1].type == "task_error"
        assert (await alice.get(f"/api/tasks/{task_id}/shares"))["subjects"] == []


async def test_shares_outlive_a_restart_and_go_with_the_task(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        await alice.reaches(task_id, "completed")
        await share(alice, task_id, "everyone")
    async with inside(tmp_path) as alice:
        bob = named(alice, "bob")
        assert (await bob.get(f"/api/tasks/{task_id}"))["taskId"] == task_id
        assert (await alice.get(f"/api/tasks/{task_id}/shares"))["subjects"] == "everyone"
        assert (await alice.call("DELETE", f"/api/tasks/{task_id}")).status == 204
        for client in (alice, bob):
            assert (await client.call("GET", f"/api/tasks/{task_id}")).status == 404
        assert (await bob.get("/api/tasks?scope=shared"))["tasks"] == []


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/subjects"),
        ({"subjects": None}, "/subjects"),
        ({"subjects": "all"}, "/subjects"),
        ({"subjects": 5}, "/subjects"),
        ({"subjects": [""]}, "/subjects/0"),
        ({"subjects": ["a", " b"]}, "/subjects/1"),
        ({"subjects": ["a\u202eb"]}, "/subjects/0"),
        ({"subjects": ["x" * 256]}, "/subjects/0"),
        ({"subjects": [1]}, "/subjects/0"),
        ({"subjects": [f"s{n}" for n in range(101)]}, "/subjects"),
        ({"subjects": [], "more": 1}, "/more"),
    ],
)
async def test_shares_that_cannot_be(tmp_path: Path, body: Any, pointer: str) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(TWO)
        answer = await alice.call("PUT", f"/api/tasks/{task_id}/shares", body)
        assert (answer.status, answer.slug) == (422, "invalid-request"), answer
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
        assert (await alice.get(f"/api/tasks/{task_id}/shares"))["subjects"] == []
