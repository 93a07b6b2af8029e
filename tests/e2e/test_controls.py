"""Controls over HTTP: what a snapshot says may be done is what the routes answer."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, end_frame, frames, joined, task, types
from tests.e2e.serving import inside
from tests.grammar import check_log

pytestmark = pytest.mark.e2e

GOOD = {"agent": "scripted-1", "texts": ["a"]}
BAD = {"agent": "scripted-2", "outcome": "fail"}
HANG = {"agent": "scripted-3", "texts": ["here"], "outcome": "hang"}
SAYS = ("cancel", "pause", "resume", "retry", "answer", "delete")
REPEATS = {
    ("cancel", "cancelling"), ("cancel", "cancelled"), ("cancel", "blocked"),
    ("pause", "pausing"), ("pause", "paused"), ("resume", "resumed"), ("retry", "retried"),
}  # fmt: skip


class States:
    """Brings new tasks into every state.

    Args:
        alice: Whose they are.
        folder: Holds the database, and the gate that lets agents end.
    """

    def __init__(self, alice: Client, folder: Path) -> None:
        self.alice = alice
        self.gate = folder / "gate"
        self.database = folder / "tasks.db"
        self.makers: dict[str, Callable[[], Awaitable[str]]] = {
            "queued": self.queued, "running": self.running, "pausing": self.pausing,
            "paused": self.paused, "waiting": self.waiting, "cancelling": self.cancelling,
            "completed": lambda: self.ended(task(GOOD)),
            "partly": lambda: self.ended(task(GOOD, BAD, executionMode="parallel")),
            "failed": lambda: self.ended(task(BAD)),
            "timed_out": lambda: self.ended(task(HANG, timeoutSeconds=0.02)),
            "cancelled": self.cancelled, "blocked": self.blocked, "resumed": self.resumed,
            "retried": self.retried,
        }  # fmt: skip

    async def post(self, task_id: str, control: str) -> str:
        answer = await self.alice.call("POST", f"/api/tasks/{task_id}/{control}")
        assert answer.status == 202, answer
        return str(answer.json()["status"])

    def gated(self, *roles: str, **fields: Any) -> dict[str, Any]:
        inputs = {"gate": str(self.gate)}
        return {"description": "x", "selectedAgents": list(roles), "inputs": inputs, **fields}

    async def ended(self, body: dict[str, Any]) -> str:
        return str((await self.alice.run(body))[0].data["taskId"])

    async def running(self) -> str:
        task_id = await self.alice.submit(self.gated("gate", "reader"))
        await self.alice.reaches(task_id, "running")
        return task_id

    async def queued(self) -> str:
        return await self.alice.submit(task(GOOD, after=[await self.running()]))

    async def pausing(self) -> str:
        task_id = await self.running()
        assert await self.post(task_id, "pause") == "pausing"
        return task_id

    async def paused(self) -> str:
        task_id = await self.queued()
        assert await self.post(task_id, "pause") == "paused"
        return task_id

    async def waiting(self) -> str:
        """No agent can ask yet; the state has its rules all the same."""
        task_id = await self.paused()
        with closing(sqlite3.connect(self.database)) as connection, connection:
            change = "UPDATE task SET status = 'waiting' WHERE task_id = ?"
            connection.execute(change, (task_id,))
        return task_id

    async def cancelling(self) -> str:
        async with self.alice.open(
            "POST", "/api/agents/execute/stream", self.gated("stubborn")
        ) as response:
            await response.read_until(lambda body: b"not listening" in body)
            task_id = str(response.header("x-task-id"))
        assert await self.post(task_id, "cancel") == "cancelling"
        return task_id

    async def cancelled(self) -> str:
        task_id = await self.queued()
        assert await self.post(task_id, "cancel") == "cancelled"
        return task_id

    async def blocked(self) -> str:
        return await self.ended(task(GOOD, after=[await self.ended(task(BAD))]))

    async def resumed(self) -> str:
        task_id = await self.pausing()
        assert await self.post(task_id, "resume") == "running"
        return task_id

    async def retried(self) -> str:
        task_id = await self.running()
        await self.post(task_id, "cancel")
        await self.alice.reaches(task_id, "cancelled")
        await self.post(task_id, "retry")
        await self.alice.reaches(task_id, "running")
        return task_id


async def test_what_may_be_done_is_what_the_routes_answer(tmp_path: Path) -> None:
    async with inside(tmp_path, scripted_agents=True, cancel_grace_seconds=60) as alice:
        states = States(alice, tmp_path)
        try:
            repeats: set[tuple[str, str]] = set()
            for name, make in states.makers.items():
                allowed: set[str] = set()
                for action in SAYS:
                    repeated = await check(alice, await make(), action, allowed)
                    repeats |= {(action, name)} if repeated else set()
                assert allowed == ALLOWED[name], name
            assert repeats == REPEATS
        finally:
            states.gate.touch()


ALLOWED = {
    "queued": {"cancel", "pause"},
    "running": {"cancel", "pause"},
    "resumed": {"cancel", "pause"},
    "retried": {"cancel", "pause"},
    "pausing": {"cancel", "resume"},
    "paused": {"cancel", "resume"},
    "waiting": {"cancel", "pause"},
    "cancelling": set(),
    "completed": {"delete"},
    "partly": {"retry", "delete"},
    "failed": {"retry", "delete"},
    "timed_out": {"retry", "delete"},
    "cancelled": {"retry", "delete"},
    "blocked": {"delete"},
}


async def check(alice: Client, task_id: str, action: str, allowed: set[str]) -> bool:
    """Compare what is said of an action with what it does; True when it is answered as a repeat."""
    path = f"/api/tasks/{task_id}"
    before = await alice.get(path)
    said = before["actions"][action]
    assert tuple(before["actions"]) == SAYS
    [listed] = [e for e in (await alice.get("/api/tasks"))["tasks"] if e["taskId"] == task_id]
    assert listed["actions"] == before["actions"]
    if said["allowed"]:
        assert said == {"allowed": True}
        allowed.add(action)
    if action == "answer":  # no agent can ask, so there is no route
        assert not said["allowed"]
        return False
    if action == "delete":
        answer = await alice.call("DELETE", path)
    else:
        answer = await alice.call("POST", f"{path}/{action}")
    if said["allowed"]:
        assert answer.status == (204 if action == "delete" else 202), (before["status"], action)
        if action != "delete":
            assert (await alice.get(path))["lastEventId"] > before["lastEventId"]
        return False
    if answer.status == 409:
        assert answer.json()["detail"] == said["reason"], (before["status"], action)
        return False
    assert (answer.status, answer.json()) == (202, {"taskId": task_id, "status": before["status"]})
    assert said["reason"] == f"The task is {before['status']} already."
    log = await alice.get(f"{path}/events")
    came = {event["type"] for event in log["events"][before["lastEventId"] :]}
    assert came <= {"agent_start", "agent_progress"}, "nothing but what the agents do"
    return True


async def test_a_stream_goes_over_a_pause_and_a_retry_and_ends_once(tmp_path: Path) -> None:
    async with inside(tmp_path, scripted_agents=True) as alice:
        states = States(alice, tmp_path)
        body = states.gated("gate", "librarian")  # which fails: there are no inputs.files
        async with alice.open("POST", "/api/agents/execute/stream", body) as response:
            await response.read_until(lambda received: b"waiting" in received)
            task_id = str(response.header("x-task-id"))
            await states.post(task_id, "pause")
            states.gate.touch()
            await response.read_until(lambda received: b'"state":"paused"' in received)
            await states.post(task_id, "resume")
            first = await response.read_to_end()
        assert end_frame(first) is not None
        assert end_frame(first)[0] == "error"  # type: ignore[index]
        log = frames(first)
        last = log[-1].seq
        path = f"/api/tasks/{task_id}"
        for _ in range(2):  # the repeat of a retry whose answer was lost
            answer = await alice.call("POST", f"{path}/retry?lastEventId={last}")
            assert answer.status in (202, 409), "202 while it runs; it may have ended meanwhile"
        whole = await alice.call("GET", f"{path}/stream")
        again = frames(whole.body)
        assert joined(again[:last]) == joined(log)
        assert end_frame(whole.body) is not None
        assert types(again).count("task_error") == 2
        assert [f.data["attempt"] for f in again if f.type == "agent_start"] == [1, 1, 2]
        check_log([frame.data for frame in again])
        assert (await alice.call("GET", f"{path}/stream?after={again[-1].seq}")).status == 204


async def test_controls_of_ten_callers_at_once_leave_one_history(tmp_path: Path) -> None:
    async with inside(tmp_path, scripted_agents=True, cancel_grace_seconds=0.2) as alice:
        body = task({**GOOD, "texts": ["x"] * 20, "delay": 0.002}, HANG)
        task_id = await alice.submit(body)
        names = ("pause?mode=now", "resume", "pause", "resume", "retry", "cancel") * 4
        paths = [f"/api/tasks/{task_id}/{name}" for name in names]
        answers = await asyncio.gather(*(alice.call("POST", path) for path in paths))
        assert {answer.status for answer in answers} <= {202, 409}
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")
        await alice.reaches(task_id, "cancelled")
        log = await alice.log(task_id)
        check_log([frame.data for frame in log])
