"""Agents of one task: at once, one after another, as a graph; failing, hanging, cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client, Frame, end_frame, frames, task, types, until
from tests.e2e.serving import caller, inside, token
from tests.grammar import check_log
from tests.server import ServerProcess

pytestmark = pytest.mark.e2e

STREAM = "/api/agents/execute/stream"
HANG = {"agent": "scripted-1", "texts": ["here"], "outcome": "hang"}
GONE = ("completed", "failed", "timed_out", "cancelled")


def part(number: int, **fields: Any) -> dict[str, Any]:
    return {"agent": f"scripted-{number}", "texts": [f"by {number}"], "kind": "content", **fields}


def order(log: list[Frame], *wanted: str) -> list[str]:
    """Events of some types as words, in order."""
    return [f"{f.type} {f.data.get('agentRole', '')[-1:]}" for f in log if f.type in wanted]


def statuses(snapshot: dict[str, Any]) -> list[str]:
    return [agent["status"] for agent in snapshot["agents"]]


async def run(client: Client, body: dict[str, Any]) -> tuple[list[Frame], dict[str, Any]]:
    """Run a task to its end: its log, which obeys the grammar, and its snapshot."""
    answer = await client.call("POST", STREAM, body)
    assert answer.status == 200, answer
    log = frames(answer.body)
    check_log([frame.data for frame in log])
    return log, await client.get(f"/api/tasks/{log[0].data['taskId']}")


async def test_agents_of_a_parallel_task_overlap(alice: Client) -> None:
    parts = [part(n, texts=["a", "b"], delay=0.05) for n in range(1, 6)]
    log, snapshot = await run(alice, task(*parts, executionMode="parallel"))
    found = order(log, "agent_start", "agent_complete")
    assert sorted(found[:5]) == [f"agent_start {n}" for n in range(1, 6)]
    assert sorted(found[5:]) == [f"agent_complete {n}" for n in range(1, 6)]
    said = [frame.data["agentRole"] for frame in log if "content" in frame.data]
    assert len(set(said[:5])) == 5, "everybody speaks before anybody speaks twice"
    assert statuses(snapshot) == ["completed"] * 5


async def test_max_parallel_is_kept(alice: Client) -> None:
    parts = [part(n, delay=0.02) for n in range(1, 7)]
    log, _ = await run(alice, task(*parts, executionMode="parallel", maxParallel=2))
    running, most = 0, 0
    for frame in log:
        running += (frame.type == "agent_start") - (frame.type == "agent_complete")
        most = max(most, running)
    assert most == 2


async def test_one_failing_agent_of_five_keeps_the_results_of_the_others(alice: Client) -> None:
    parts = [part(n, delay=0.01) for n in range(1, 6)]
    parts[2]["outcome"] = "fail"
    log, snapshot = await run(alice, task(*parts, executionMode="parallel"))
    assert log[-1].data.items() >= {"type": "task_complete", "outputs": 4}.items()
    assert log[-1].data["failedAgents"] == ["scripted-3"]
    (error,) = [frame.data for frame in log if frame.type == "agent_error"]
    assert (error["error"], error["willRetry"]) == ("scripted failure", False)
    assert snapshot["status"] == "completed"
    assert [a["content"] for a in snapshot["agents"]] == [f"by {n}" for n in range(1, 6)]
    assert statuses(snapshot) == ["completed", "completed", "error", "completed", "completed"]


async def test_a_sequential_task_stops_at_the_first_failure_and_says_so(alice: Client) -> None:
    parts = [part(1), part(2, outcome="fail"), part(3)]
    log, snapshot = await run(alice, task(*parts))
    assert order(log, "agent_start", "agent_complete", "agent_error") == [
        "agent_start 1", "agent_complete 1", "agent_start 2", "agent_error 2",
    ]  # fmt: skip
    assert log[-1].data.items() >= {"status": "failed", "code": "agent_failed"}.items()
    assert "scripted-2" in log[-1].data["error"]
    assert (snapshot["status"], snapshot["code"]) == ("failed", "agent_failed")
    assert statuses(snapshot) == ["completed", "error", "skipped"]
    assert snapshot["agents"][0]["content"] == "by 1", "what was delivered stays"


async def test_a_sequential_task_may_go_on_after_a_failure(alice: Client) -> None:
    parts = [part(1), part(2, outcome="fail"), part(3)]
    log, snapshot = await run(alice, task(*parts, onAgentError="continue"))
    assert log[-1].data["failedAgents"] == ["scripted-2"]
    assert statuses(snapshot) == ["completed", "error", "completed"]


async def test_a_parallel_task_may_stop_at_a_failure(alice: Client) -> None:
    parts = [part(1, outcome="fail"), *(part(n) for n in range(2, 5))]
    body = task(*parts, executionMode="parallel", maxParallel=1, onAgentError="stop")
    log, snapshot = await run(alice, body)
    assert types(log).count("agent_start") == 1
    assert snapshot["code"] == "agent_failed"
    assert statuses(snapshot) == ["error", "skipped", "skipped", "skipped"]


@pytest.mark.parametrize("mode", ["sequential", "parallel", "graph"])
async def test_a_task_whose_agents_all_failed_has_failed(alice: Client, mode: str) -> None:
    parts = [part(n, outcome="fail") for n in (1, 2, 3)]
    body = task(*parts, executionMode=mode, onAgentError="continue")
    answer = await alice.call("POST", STREAM, body)
    last = frames(answer.body)[-1].data
    assert last.items() >= {"status": "failed", "code": "all_agents_failed"}.items()
    assert end_frame(answer.body) == (
        "error", {"taskId": last["taskId"], "error": last["error"]},
    )  # fmt: skip


async def test_agents_are_given_what_earlier_ones_delivered(alice: Client) -> None:
    body = task(part(1), part(2))
    body["selectedAgents"] = ["scripted-1", "scripted-2", "reader"]
    _, snapshot = await run(alice, body)
    assert snapshot["agents"][2]["content"] == "scripted-1=by 1;scripted-2=by 2;"


async def test_a_graph_starts_each_agent_when_what_it_needs_is_there(alice: Client) -> None:
    parts = [part(n, delay=0.03 if n == 2 else 0.0) for n in range(1, 6)]
    needs = {"scripted-4": ["scripted-1", "scripted-2"], "scripted-5": ["scripted-4"]}
    log, _ = await run(alice, task(*parts, executionMode="graph", dependsOn=needs))
    found = order(log, "agent_start", "agent_complete")
    assert found[:3] == [f"agent_start {n}" for n in (1, 2, 3)]
    for first, then in [(1, 4), (2, 4), (4, 5)]:
        assert found.index(f"agent_complete {first}") < found.index(f"agent_start {then}")


async def test_in_a_graph_only_what_needs_a_failed_agent_is_skipped(alice: Client) -> None:
    parts = [part(1, outcome="fail"), part(2), part(3), part(4)]
    needs = {"scripted-3": ["scripted-1"], "scripted-4": ["scripted-2"]}
    body = task(*parts, executionMode="graph", dependsOn=needs, onAgentError="continue")
    _, snapshot = await run(alice, body)
    assert statuses(snapshot) == ["error", "completed", "skipped", "completed"]


async def test_a_task_ends_when_its_time_is_used_up(alice: Client) -> None:
    log, snapshot = await run(alice, task(HANG, timeoutSeconds=0.2))
    assert log[-1].data.items() >= {"status": "timed_out", "code": "timeout"}.items()
    assert snapshot["status"] == "timed_out"
    assert 150 <= snapshot["totalExecutionTime"] <= 5_000


async def test_a_task_waits_for_those_it_comes_after(alice: Client) -> None:
    first, second = [await alice.submit(task(part(n, delay=0.1))) for n in (1, 2)]
    log, _ = await run(alice, task(part(3), after=[first, second]))
    ends = [(await alice.get(f"/api/tasks/{i}"))["endedAt"] for i in (first, second)]
    start = next(frame.data["timestamp"] for frame in log if frame.type == "agent_start")
    assert max(ends) <= start


@pytest.mark.parametrize("outcome", ["fail", "hang"])
async def test_a_task_is_cancelled_when_one_it_comes_after_does_not_complete(
    alice: Client, outcome: str
) -> None:
    first = await alice.submit(task(part(1, delay=0.05, outcome=outcome)))
    second = await alice.submit(task(part(2), after=[first]))
    third = asyncio.create_task(run(alice, task(part(3), after=[second])))
    if outcome == "hang":
        await alice.call("POST", f"/api/tasks/{first}/cancel")
    log, snapshot = await third
    assert types(log) == ["task_created", "task_error"]
    assert log[-1].data.items() >= {"status": "cancelled", "code": "dependency_failed"}.items()
    assert statuses(snapshot) == ["skipped"]
    late, _ = await run(alice, task(part(4), after=[first]))
    assert late[-1].data["code"] == "dependency_failed"


# -- cancel --------------------------------------------------------------------------------------


async def test_cancel_is_accepted_and_ends_with_one_terminal_event(alice: Client) -> None:
    async with alice.open("POST", STREAM, task(HANG)) as response:
        await response.read_until(lambda body: b"here" in body)
        path = f"/api/tasks/{response.header('x-task-id')}"
        answer = await alice.call("POST", f"{path}/cancel")
        assert (answer.status, answer.json()["status"]) == (202, "cancelling")
        log = frames(await response.read_to_end())
    check_log([frame.data for frame in log])
    assert types(log)[-3:] == ["task_state", "agent_error", "task_error"]
    state, agent, end = [frame.data for frame in log[-3:]]
    who = "alice of test_cancel_is_accepted_and_ends_with_one_terminal_event"
    assert state.items() >= {"state": "cancelling", "reason": "cancel", "requestedBy": who}.items()
    assert agent.items() >= {"status": "cancelled", "willRetry": False}.items()
    assert end.items() >= {"status": "cancelled", "code": "cancelled", "requestedBy": who}.items()
    assert "notStopped" not in end
    again = await alice.call("POST", f"{path}/cancel")
    assert (again.status, again.json()["status"]) == (202, "cancelled")
    assert len(await alice.log(str(response.header("x-task-id")))) == len(log)


async def test_a_hanging_agent_is_stopped_at_once(alice: Client) -> None:
    task_id = await alice.submit(task(HANG))
    await until(lambda: _has(alice, task_id, 3), "the agent hangs")
    await alice.call("POST", f"/api/tasks/{task_id}/cancel")
    await alice.reaches(task_id, "cancelled")
    log = await alice.log(task_id)
    (error,) = [frame.data for frame in log if frame.type == "agent_error"]
    assert error["code"] == "cancelled"


async def test_an_agent_that_does_not_stop_is_named_after_the_grace(
    alice: Client, tmp_path: Path
) -> None:
    body = {"description": "x", "selectedAgents": ["stubborn"]}
    body |= {"inputs": {"gate": str(tmp_path / "open")}}  # type: ignore[dict-item]
    try:
        async with alice.open("POST", STREAM, body) as response:
            await response.read_until(lambda received: b"not listening" in received)
            await alice.call("POST", f"/api/tasks/{response.header('x-task-id')}/cancel")
            log = frames(await response.read_to_end())
    finally:
        (tmp_path / "open").touch()
    check_log([frame.data for frame in log])
    assert log[-1].data.items() >= {"status": "cancelled", "notStopped": ["stubborn"]}.items()
    (error,) = [frame.data for frame in log if frame.type == "agent_error"]
    assert error["code"] == "not_stopped"


async def test_a_finished_task_cannot_be_cancelled(alice: Client) -> None:
    log, _ = await run(alice, task(part(1)))
    path = f"/api/tasks/{log[0].data['taskId']}/cancel"
    for query in ("", f"?lastEventId={len(log)}", f"?lastEventId={len(log) - 1}"):
        answer = await alice.call("POST", path + query)
        assert (answer.status, answer.slug) == (409, "conflict"), query
    beyond = await alice.call("POST", f"{path}?lastEventId={len(log) + 1}")
    assert beyond.status == 409
    for wrong in ("x", "-1", "1&lastEventId=2", "1.0"):
        assert (await alice.call("POST", f"{path}?lastEventId={wrong}")).status == 400, wrong
    assert len(await alice.log(log[0].data["taskId"])) == len(log)


async def test_a_queued_task_is_cancelled_without_ever_starting(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1) as alice:
        first = await alice.submit(task(HANG))
        queued = await alice.submit(task(part(2)))
        assert await alice.status(queued) == "queued"
        async with alice.open("GET", f"/api/tasks/{queued}/stream") as response:
            answer = await alice.call("POST", f"/api/tasks/{queued}/cancel")
            assert (answer.status, answer.json()["status"]) == (202, "cancelled")
            log = frames(await response.read_to_end())
        assert types(log) == ["task_created", "task_error"]
        await alice.call("POST", f"/api/tasks/{first}/cancel")
        third, _ = await run(alice, task(part(3)))
        assert types(third)[-1] == "task_complete"


async def test_cancel_and_completion_race_to_exactly_one_end(alice: Client) -> None:
    ends = set()
    for number in range(100):
        # Messages: pieces of content might come together.
        delay = 0.002 + number % 30 * 0.0002
        body = task(part(1, texts=["a", "b", "c"], kind="message", delay=delay))
        async with alice.open("POST", STREAM, body) as response:
            path = f"/api/tasks/{response.header('x-task-id')}"
            said = (b'"message":"a"', b'"message":"b"', b'"message":"c"', b"task_complete")[
                number % 4
            ]
            await response.read_until(lambda received, said=said: said in received)  # type: ignore[misc]
            both = await asyncio.gather(*(alice.call("POST", f"{path}/cancel") for _ in range(2)))
            log = frames(await response.read_to_end())
        assert {answer.status for answer in both} <= {202, 409}
        check_log([frame.data for frame in log])
        assert sum(t in ("task_complete", "task_error") for t in types(log)) == 1
        status = (await alice.get(path))["status"]
        assert status == {"task_complete": "completed"}.get(log[-1].type, "cancelled")
        assert (status == "cancelled") == (202 in {answer.status for answer in both})
        ends.add(status)
    assert ends == {"completed", "cancelled"}, "each of them wins at times"


async def test_cancel_of_a_task_that_is_just_being_claimed_stops_its_agents(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1, cancel_grace_seconds=0.2) as alice:
        for _ in range(25):
            first = await alice.submit(task(part(1, texts=["x"])))
            second = await alice.submit(task(HANG))
            cancel = f"/api/tasks/{second}/cancel"
            assert (await alice.call("POST", cancel)).status == 202
            assert await alice.reaches(second, "cancelled") == "cancelled"
            await alice.reaches(first, "completed")
            check_log([frame.data for frame in await alice.log(second)])


# -- who runs when -------------------------------------------------------------------------------


async def test_higher_priority_goes_first_and_owners_take_turns(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=1) as alice:
        bob = Client(alice.port, token("bob"))
        blocker = await alice.submit(task(HANG))
        wanted = [(alice, 0), (alice, 0), (bob, 0), (alice, 5), (bob, -5), (alice, -5)]
        ids = [await client.submit(task(part(2), priority=p)) for client, p in wanted]
        await alice.call("POST", f"/api/tasks/{blocker}/cancel")
        for (client, _), task_id in zip(wanted, ids, strict=True):
            await client.reaches(task_id, "completed")
        started = []
        for (client, _), task_id in zip(wanted, ids, strict=True):
            log = await client.log(task_id)
            started.append(next(f.data["timestamp"] for f in log if f.type == "agent_start"))
        assert started[3] == min(started)
        assert max(started[:3]) <= min(started[4:])


async def test_not_more_tasks_run_at_once_than_allowed(tmp_path: Path) -> None:
    async with inside(tmp_path, max_concurrent_tasks=3) as alice:
        ids = [await alice.submit(task(HANG)) for _ in range(7)]
        entries = (await alice.get("/api/tasks/active"))["tasks"]
        found = {entry["taskId"]: entry["status"] for entry in entries}
        assert [found[i] for i in ids] == ["running"] * 3 + ["queued"] * 4
        for done, task_id in enumerate(ids, start=1):
            await alice.call("POST", f"/api/tasks/{task_id}/cancel")
            await until(lambda n=done: _running(alice, ids[: n + 3]), "the next one runs")  # type: ignore[misc]


async def _running(client: Client, ids: list[str]) -> bool:
    return all([await client.status(i) in ("running", *GONE) for i in ids])


async def _has(client: Client, task_id: str, seq: int) -> bool:
    return bool((await client.get(f"/api/tasks/{task_id}"))["lastEventId"] >= seq)


def test_the_server_of_all_these_tests_is_alive_and_clean(server: ServerProcess) -> None:
    assert server.process is not None
    assert server.process.poll() is None
    assert "Traceback" not in server.stderr
    assert caller(server).port == server.port
