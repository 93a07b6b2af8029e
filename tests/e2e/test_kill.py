"""kill -9 at any moment: tasks go on, what was seen stays, finished agents stay finished."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.e2e.client import Client, Frame, frames, joined, task, types, until
from tests.e2e.serving import caller, process
from tests.grammar import check_log, check_prefix
from tests.server import ServerProcess

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

STREAM = "/api/agents/execute/stream"
POINTS = ("before_begin", "before_commit", "after_commit")
SETTINGS = {"recover_max_attempts": 1000, "max_concurrent_tasks": 6}
Seen = dict[str, list[list[Frame]]]


def work(mode: str) -> dict[str, object]:
    """Three agents that take a third of a second and never say the same twice."""
    parts = [
        {"agent": f"scripted-{n}", "repeat": 12, "delay": 0.008, "nonce": True, "kind": kind}
        for n, kind in [(1, "content"), (2, "message"), (3, "content")]
    ]
    return task(*parts, executionMode=mode)


async def watch(client: Client, seen: Seen, method: str, path: str, body: object = None) -> None:
    """Note what one connection shows until it breaks."""
    received: list[Frame] = []
    try:
        async with client.open(method, path, body) as response:
            task_id = response.header("x-task-id")
            if response.status == 200 and task_id is not None:
                seen.setdefault(task_id, []).append(received)
                received += frames(await response.read_to_end())
    except (OSError, asyncio.IncompleteReadError):
        pass  # it was killed before it answered


async def kill_in_the_middle(
    server: ServerProcess, seen: Seen, known: Sequence[str], *, after: float
) -> None:
    """Readers of old and new tasks, and a kill meanwhile, by us or by a crash point."""
    alice = caller(server)
    watching = [
        asyncio.create_task(watch(alice, seen, "POST", STREAM, work(mode)))
        for mode in ("sequential", "parallel", "sequential")
    ]
    watching += [
        asyncio.create_task(watch(alice, seen, "GET", f"/api/tasks/{task_id}/stream"))
        for task_id in known
    ]
    process = server.process
    assert process is not None

    async def over() -> bool:
        return process.poll() is not None or all(reader.done() for reader in watching)

    if after >= 0:
        await asyncio.wait(watching, timeout=after)
    else:
        await until(over, "the server died at its crash point, or everything was done")
    server.kill()
    await asyncio.gather(*watching)


async def assert_whole(server: ServerProcess, seen: Seen) -> None:
    """All tasks complete, and everything that anybody saw is in their logs."""
    alice = caller(server)
    entries: list[dict[str, object]] = (await alice.get("/api/tasks?limit=200"))["tasks"]
    assert set(seen) <= {entry["taskId"] for entry in entries}, "a task that was shown is lost"
    for entry in entries:
        task_id = str(entry["taskId"])
        assert await alice.reaches(task_id, "completed", "failed", "cancelled") == "completed"
        log = await alice.log(task_id)
        check_log([frame.data for frame in log])
        for connection in seen.get(task_id, ()):
            check_prefix([f.raw for f in connection], [f.raw for f in log])
        finished = [f.data["agentRole"] for f in log if f.type == "agent_complete"]
        assert sorted(finished) == ["scripted-1", "scripted-2", "scripted-3"]
        ends = [f.data for f in log if f.type == "agent_error"]
        assert all((e["code"], e["willRetry"]) == ("interrupted", True) for e in ends)
        snapshot = await alice.get(f"/api/tasks/{task_id}")
        for agent in snapshot["agents"]:
            last = [f.data for f in log if f.data.get("agentRole") == agent["agentRole"]]
            text = "".join(
                e.get("content", "") for e in last if e.get("attempt") == agent["attempt"]
            )
            assert agent["content"] == text


async def run_chain(folder: Path, kills: list[tuple[str, int, float]]) -> None:
    """One chain of crashes over one database: kill, restart, go on."""
    seen: Seen = {}
    for point, count, after in kills:
        with process(folder, kill_at=point, count=count) as server:
            try:
                server.start(**SETTINGS)
                entries = (await caller(server).get("/api/tasks/active"))["tasks"]
            except (AssertionError, OSError, asyncio.IncompleteReadError):
                server.kill()  # it died in its own recovery, or soon after: so much the better
                continue
            known = [entry["taskId"] for entry in entries[:8]]
            await kill_in_the_middle(server, seen, known, after=after)
    with process(folder) as server:
        server.start(**SETTINGS)
        await assert_whole(server, seen)
        assert sum(map(len, seen.values())) > len(kills), "the test has seen something"


async def test_a_chain_of_kills_loses_nothing_that_was_seen(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = [("", 1, chance.uniform(0.02, 0.5)) for _ in range(4)]
    kills += [(point, chance.randint(12, 60), -1) for point in POINTS]
    chance.shuffle(kills)
    await run_chain(tmp_path, kills)


@pytest.mark.soak
async def test_a_long_chain_of_kills_loses_nothing_that_was_seen(tmp_path: Path) -> None:
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    kills = [("", 1, chance.uniform(0.0, 0.7)) for _ in range(60)]
    kills += [(point, number, -1) for point in POINTS for number in range(8, 60)]
    chance.shuffle(kills)
    for start in range(0, len(kills), 30):
        folder = tmp_path / str(start)
        folder.mkdir()
        await run_chain(folder, kills[start : start + 30])


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
