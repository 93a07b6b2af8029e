"""kill -9 at any moment: tasks go on, what was seen stays, finished agents stay finished."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.client import Client, Frame, end_frame, frames, joined, task, types, until
from tests.e2e.forking import ForkedServer, mould
from tests.e2e.serving import caller, process
from tests.grammar import check_log
from tests.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STREAM = "/api/agents/execute/stream"
POINTS = ("before_begin", "before_commit", "after_commit")
FOLLOWED = 6  # tasks that are under way in each life
READY_SECONDS = 2.0


class Follower:
    """A client that starts a task and reads it to its end, over as many connections as it takes.

    Args:
        key: Its idempotency key.
        chance: Where it re-attaches by GET, and where it repeats its POST.
    """

    def __init__(self, key: str, chance: random.Random) -> None:
        self.key = key
        self.task_id = ""
        self.seen: list[Frame] = []
        self.ended = False
        self._chance = chance
        parts = [
            {"agent": f"scripted-{n}", "repeat": 12, "delay": 0.008, "nonce": True, "kind": kind}
            for n, kind in [(1, "content"), (2, "message"), (3, "content")]
        ]
        self._body = task(*parts, executionMode=chance.choice(["sequential", "parallel"]))

    async def follow(self, client: Client) -> None:
        """One connection, until the end or until it breaks."""
        headers = [("Idempotency-Key", self.key)]
        method, path, body = "POST", STREAM, self._body
        if self.task_id and self._chance.random() < 0.5:
            method, path, body = "GET", f"/api/tasks/{self.task_id}/stream", {}
            headers = []
        if self.seen:
            headers.append(("Last-Event-ID", str(self.seen[-1].seq)))
        try:
            async with client.open(method, path, body or None, headers=headers) as response:
                assert response.status in (200, 204), response
                task_id = response.header("x-task-id") or self.task_id
                assert self.task_id in ("", task_id), "one key, two tasks"
                self.task_id = task_id
                self.ended = response.status == 204
                if not self.ended:
                    received = await response.read_to_end()
                    self.seen += frames(received)
                    self.ended = end_frame(received) is not None
        except (OSError, asyncio.IncompleteReadError):
            pass  # it was killed before it answered

    def check(self, log: Sequence[Frame]) -> None:
        """All it saw is the log, from its first byte to its last."""
        assert joined(self.seen) == joined(log), "lost, doubled, reordered or changed"


class Chain:
    """One life of a server after the other over one database, and its clients.

    Args:
        server: Forked, so that a life begins in a moment.
        chance: When it dies, and where.
    """

    def __init__(self, server: ForkedServer, chance: random.Random) -> None:
        self._server = server
        self._chance = chance
        self.followers: list[Follower] = []
        self.ready_seconds: list[float] = []

    async def live(self, *, point: str = "", nth: int = 1, seconds: float = 0.0) -> None:
        """A life that ends after a time, or the n-th time it passes a crash point."""
        server = self._server
        server.arguments = ["--kill-at", point, "--count", str(nth)] if point else []
        began = time.monotonic()
        try:
            await asyncio.to_thread(server.start)
        except (AssertionError, OSError):
            assert point, f"it did not come up\n{server.stderr}"
            server.kill()  # it died in its own recovery
            return
        self.ready_seconds.append(time.monotonic() - began)
        following = [asyncio.create_task(f.follow(caller(server))) for f in self._unfinished()]
        if not point:
            await asyncio.wait(following, timeout=seconds)
        else:
            assert server.process is not None
            alive = server.process
            everything = asyncio.gather(*following)
            await until(lambda: _is(alive.poll() is not None or everything.done()), "its end")
        server.kill()
        await asyncio.gather(*following)

    async def end(self) -> None:
        """A last life, in which everything comes to its end and is compared."""
        server = self._server
        server.arguments = []
        await asyncio.to_thread(server.start)
        alice = caller(server)
        while unfinished := [f for f in self.followers if not f.ended]:
            await asyncio.gather(*(follower.follow(alice) for follower in unfinished))
        entries: list[dict[str, object]] = []
        path = "/api/tasks?limit=200"
        while path:
            answer = await alice.call("GET", path)
            entries += answer.json()["tasks"]
            path = (answer.header("link") or "").partition(">")[0].removeprefix("<")
        assert {str(e["taskId"]) for e in entries} == {f.task_id for f in self.followers}
        assert {entry["status"] for entry in entries} == {"completed"}
        for follower in self.followers:
            log = await alice.log(follower.task_id)
            check_log([frame.data for frame in log])
            follower.check(log)
            await _check_agents(alice, follower.task_id, log)

    def _unfinished(self) -> list[Follower]:
        unfinished = [follower for follower in self.followers if not follower.ended]
        while len(unfinished) < FOLLOWED:
            unfinished.append(Follower(secrets.token_hex(8), self._chance))
            self.followers.append(unfinished[-1])
        return unfinished


async def _is(condition: bool) -> bool:
    return condition


async def _check_agents(client: Client, task_id: str, log: Sequence[Frame]) -> None:
    finished = [f.data["agentRole"] for f in log if f.type == "agent_complete"]
    assert sorted(finished) == ["scripted-1", "scripted-2", "scripted-3"], (
        "each ran to its end once"
    )
    ends = [f.data for f in log if f.type == "agent_error"]
    assert all((e["code"], e["willRetry"]) == ("interrupted", True) for e in ends)
    for agent in (await client.get(f"/api/tasks/{task_id}"))["agents"]:
        last = [f.data for f in log if f.data.get("agentRole") == agent["agentRole"]]
        text = "".join(e.get("content", "") for e in last if e.get("attempt") == agent["attempt"])
        assert agent["content"] == text


async def run_chain(folder: Path, *, kills: int) -> None:
    """So many crashes over one database: half at any moment, half at named points."""
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with mould() as parent, ForkedServer(folder, parent) as server:
        server.start(recover_max_attempts=100_000, max_concurrent_tasks=4)
        server.kill()
        chain = Chain(server, chance)
        for _ in range(kills):
            if chance.random() < 0.5:
                await chain.live(seconds=chance.uniform(0.0, 0.4))
            else:
                await chain.live(point=chance.choice(POINTS), nth=chance.randint(1, 60))
        await chain.end()
    waits = sorted(chain.ready_seconds)
    print(f"{kills} kills, {len(chain.followers)} tasks, slowest start {waits[-1]:.2f} s")
    assert waits[len(waits) * 95 // 100] <= READY_SECONDS


@pytest.mark.timeout(180)
async def test_fifty_kills_lose_double_and_change_nothing(tmp_path: Path) -> None:
    await run_chain(tmp_path, kills=50)


@pytest.mark.soak
async def test_five_hundred_kills_lose_double_and_change_nothing(tmp_path: Path) -> None:
    await run_chain(tmp_path, kills=500)


async def test_after_a_kill_each_task_does_what_it_was_told(tmp_path: Path) -> None:
    """One kill over one of each: finished agents, queued, after, fail on restart, cancelling."""
    one = {"agent": "scripted-1", "texts": ["done"], "kind": "content", "nonce": True}
    with process(tmp_path) as server:
        server.start(max_concurrent_tasks=4, cancel_grace_seconds=30)
        alice = caller(server)
        gate = {"inputs": {"script": [one], "gate": str(tmp_path / "open")}}
        wait = {"description": "x", "selectedAgents": ["scripted-1", "gate"], **gate}
        going = await alice.submit({**wait})
        failing = await alice.submit({**wait, "onRestart": "fail"})
        stubborn = {**wait, "selectedAgents": ["scripted-1", "stubborn"]}
        cancelled = await alice.submit(stubborn)
        script = [{**one, "outcome": "fail"}]
        parallel = {
            **wait,
            "executionMode": "parallel",
            "inputs": {**gate["inputs"], "script": script},
        }
        partly = await alice.submit(parallel)
        for task_id in (going, failing, cancelled, partly):
            await until(lambda i=task_id: _second_began(alice, i), "the second agent runs")  # type: ignore[misc]
        queued = [await alice.submit(task(one)) for _ in range(2)]
        later = await alice.submit(task(one, after=[going]))
        never = await alice.submit(task(one, after=[failing]))
        assert (await alice.call("POST", f"/api/tasks/{cancelled}/cancel")).status == 202
        before = {i: await _so_far(alice, i) for i in (going, failing, cancelled, partly, *queued)}
        assert {await alice.status(i) for i in queued} == {"queued"}
        server.kill()
        server.start()
        (tmp_path / "open").touch()
        ends = {
            going: "completed", partly: "completed", failing: "failed", cancelled: "cancelled",
            queued[0]: "completed", queued[1]: "completed", later: "completed", never: "cancelled",
        }  # fmt: skip
        logs = {}
        for task_id, end in ends.items():
            assert await alice.reaches(task_id, "completed", "failed", "cancelled") == end
            logs[task_id] = await alice.log(task_id)
            check_log([frame.data for frame in logs[task_id]])
        for task_id, part in before.items():
            assert joined(logs[task_id]).startswith(part), "the log goes on where it was"
        assert types(logs[going]).count("agent_complete") == 2
        attempts = [f.data["attempt"] for f in logs[going] if f.type == "agent_start"]
        assert attempts == [1, 1, 2], "the finished agent has one attempt"
        states = [f.data for f in logs[going] if f.type == "task_state"]
        assert [(s["state"], s["reason"], s["done"]) for s in states] == [
            ("queued", "recovered", ["scripted-1"])
        ]
        assert logs[failing][-1].data.items() >= {"code": "interrupted", "status": "failed"}.items()
        interrupted = [f.data for f in logs[failing] if f.type == "agent_error"]
        assert [(e["code"], e["willRetry"]) for e in interrupted] == [("interrupted", False)]
        assert logs[cancelled][-1].data["requestedBy"] == "alice"
        assert logs[partly][-1].data["failedAgents"] == ["scripted-1"]
        tried = [f.data["agentRole"] for f in logs[partly] if f.type == "agent_start"]
        assert sorted(tried) == ["gate", "gate", "scripted-1"], "who failed for good stays failed"
        assert "task_state" not in types(logs[queued[0]])
        assert logs[never][-1].data["code"] == "dependency_failed"


async def _second_began(client: Client, task_id: str) -> bool:
    agents = (await client.get(f"/api/tasks/{task_id}"))["agents"]
    return bool(
        agents[1]["status"] == "running" and (agents[1].get("message") or agents[1]["content"])
    )


async def _so_far(client: Client, task_id: str) -> bytes:
    """What a reader has of a task that goes on."""
    end = (await client.get(f"/api/tasks/{task_id}"))["lastEventId"]
    async with client.open("GET", f"/api/tasks/{task_id}/stream") as response:
        body = await response.read_until(
            lambda received: len(frames(received)) >= end  # all there is now
        )
    return joined(frames(body))


async def test_a_task_that_kills_its_server_ends_as_crash_loop(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(recover_max_attempts=1)
        alice = caller(server)
        body = {"description": "x", "selectedAgents": ["gate"]}
        body |= {"inputs": {"gate": str(tmp_path / "never")}}  # type: ignore[dict-item]
        task_id = await alice.submit(body)
        for _ in range(2):
            await until(lambda: _attempt_runs(alice, task_id), "its agent runs")
            server.kill()
            server.start()
        assert await alice.reaches(task_id, "failed", "completed") == "failed"
        log = await alice.log(task_id)
        check_log([frame.data for frame in log])
        assert log[-1].data["code"] == "crash_loop"
        assert [f.data["attempt"] for f in log if f.type == "agent_start"] == [1, 2]


async def _attempt_runs(client: Client, task_id: str) -> bool:
    snapshot = await client.get(f"/api/tasks/{task_id}")
    return bool(snapshot["status"] == "running" and snapshot["agents"][0]["status"] == "running")


async def test_a_thousand_stored_tasks_do_not_keep_a_start_waiting(tmp_path: Path) -> None:
    tasks, slots = 1000, 100
    one = task({"agent": "scripted-1", "texts": ["a", "b"], "kind": "content", "nonce": True})
    hang = task(
        {"agent": "scripted-1", "texts": ["done"], "nonce": True},
        {"agent": "scripted-2", "texts": ["here"], "outcome": "hang"},
    )
    seconds = []
    with process(tmp_path) as server:
        server.start(max_concurrent_tasks=slots, max_tasks_per_owner=tasks)
        alice = caller(server)

        async def submit(count: int, body: dict[str, object]) -> list[str]:
            return [await alice.submit(body) for _ in range(count)]

        async def going() -> set[str]:
            """Tasks whose second agent runs."""
            found = (await alice.get(f"/api/tasks?status=running&limit={slots}"))["tasks"]
            return {t["taskId"] for t in found if t["agents"][1:] and _runs(t["agents"][1])}

        async def all_go() -> bool:
            return len(await going()) == slots

        batches = [(20, one)] * 40 + [(20, hang)] * 10
        ids = await asyncio.gather(*(submit(count, body) for count, body in batches))
        await until(all_go, "every slot is taken")
        begun = await going()
        for _ in range(3):  # the machine may be busy with something else
            server.kill()
            began = time.monotonic()
            await asyncio.to_thread(server.start, recover_max_attempts=10)
            seconds.append(time.monotonic() - began)
            await until(all_go, "every slot is taken")
            assert await going() == begun, "what was begun goes on first"
        check_log([frame.data for frame in await alice.log(ids[0][0])])
    print(f"ready after {seconds}")
    assert min(seconds) <= READY_SECONDS


def _runs(agent: dict[str, object]) -> bool:
    return agent["status"] == "running"


@pytest.mark.parametrize("damage", [b"not a database " * 1000, b"\xff" * 4096])
def test_a_damaged_database_is_named_and_left_as_it_is(damage: bytes, tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.start()
        assert server.terminate() == 0
        (path,) = server.data_dir.glob("*.db")
        whole = path.read_bytes()
        damaged = damage + whole[len(damage) :]
        path.write_bytes(damaged)
        server.spawn()
        assert server.wait() == 1
        said = server.stdout + server.stderr
        assert str(path) in said.replace("\n", "")
        assert "Traceback" not in said
        assert path.read_bytes() == damaged, "it was touched"
        path.write_bytes(whole)
        server.start()
