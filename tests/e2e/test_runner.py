"""The worker loop: its switch, which survives restarts, and its log, which says who and what."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.e2e.client import Client, task, types, until
from tests.e2e.serving import caller, inside, process, token
from tests.grammar import check_log

pytestmark = pytest.mark.e2e

RUNNER = "/api/task-runner"
QUICK = task({"agent": "scripted-1", "texts": ["a"]}, title="quick one")
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"}, title="hanging one")
ENDS = ("completed", "failed", "cancelled")


def gated(folder: Path, **fields: Any) -> dict[str, Any]:
    """An agent that waits for a file."""
    inputs = {"gate": str(folder / "open")}
    return {"description": "x", "selectedAgents": ["gate"], "inputs": inputs, **fields}


def admin(client: Client) -> Client:
    """An admin on the same server."""
    return Client(client.port, token("root", "admin"))


async def switch(client: Client, way: str) -> dict[str, Any]:
    answer = await client.call("POST", f"{RUNNER}/{way}")
    assert answer.status == 200, answer
    return dict(answer.json())


async def status(client: Client) -> dict[str, Any]:
    return dict(await client.get(f"{RUNNER}/status"))


async def turns(client: Client, state: str) -> dict[str, Any]:
    """Wait until the loop is in a state."""
    found: dict[str, Any] = {}

    async def turned() -> bool:
        nonlocal found
        found = await status(client)
        return str(found["state"]) == state

    await until(turned, f"the loop is {state}")
    return found


async def messages(client: Client) -> list[str]:
    """All messages of the log, with their threads."""
    logs = (await client.get(f"{RUNNER}/logs-history"))["logs"]
    assert all(line.keys() == {"timestamp", "thread", "message", "type"} for line in logs)
    return [f"{line['thread']} {line['message']}" for line in logs]


def states(log: list[Any]) -> list[tuple[str, str]]:
    return [(f.data["state"], f.data["reason"]) for f in log if f.type == "task_state"]


async def test_a_running_loop_is_not_started_twice_and_only_admins_switch_it(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path) as alice:
        found = await status(alice)
        assert found.keys() == {
            "isRunning", "state", "runningTasks", "queuedTasks", "slots", "since",
        }  # fmt: skip
        assert (found["isRunning"], found["state"], found["slots"]) == (True, "running", 64)
        again = await admin(alice).call("POST", f"{RUNNER}/start")
        assert (again.status, again.slug) == (409, "already-running")
        assert (again.json()["error"], again.json()["isRunning"]) == ("ALREADY_RUNNING", True)
        misspelt = await admin(alice).call("POST", f"{RUNNER}/stop?mod=now")
        assert (misspelt.status, misspelt.slug) == (400, "invalid-parameter")
        for way in ("start", "stop", "clear-logs"):
            refused = await alice.call("POST", f"{RUNNER}/{way}")
            assert (refused.status, refused.slug) == (403, "forbidden")
        assert (await status(alice))["isRunning"]


async def test_a_stop_drains_survives_a_kill_and_tells_who_waits(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start(max_concurrent_tasks=1)
        alice, root = caller(server), caller(server, "root", "admin")
        running = await alice.submit(gated(tmp_path))
        await alice.reaches(running, "running")
        before = await alice.submit(QUICK)
        stopping = await switch(root, "stop")
        assert (stopping["state"], stopping["isRunning"]) == ("draining", True)
        assert (stopping["runningTasks"], stopping["queuedTasks"]) == (1, 1)
        async with alice.open("POST", "/api/agents/execute/stream", QUICK) as stream:
            seen = await stream.read_until(lambda body: b"worker_stopped" in body)
            assert b'"state":"queued"' in seen, "a POST does not look hung"
            later = str(stream.header("x-task-id"))
        late = await alice.call("POST", f"/api/tasks/{later}/cancel?lastEventId=1")
        assert late.status == 409, "the caller has not seen that the task waits"
        (tmp_path / "open").touch()
        assert await alice.reaches(running, *ENDS) == "completed", "what ran may end"
        assert not (await turns(alice, "stopped"))["isRunning"]
        assert (await alice.call("GET", "/readyz")).status == 200, "new tasks are taken"
        server.kill()
        server.start()
        found = await status(alice)
        assert (found["state"], found["queuedTasks"]) == ("stopped", 2), "a stop is not forgotten"
        assert server.terminate() == 0
        server.start()
        await switch(root, "start")
        for task_id in (before, later):
            assert await alice.reaches(task_id, *ENDS) == "completed"
            log = await alice.log(task_id)
            check_log([frame.data for frame in log])
            assert states(log) == [("queued", "worker_stopped")], "told once, whatever came"
        assert states(await alice.log(running)) == []
        assert (await status(alice))["state"] == "running"


async def test_a_stop_at_once_hands_running_tasks_back_and_a_start_goes_on(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path, cancel_grace_seconds=0.2) as alice:
        root = admin(alice)
        task_id = await alice.submit(gated(tmp_path))
        await alice.reaches(task_id, "running")
        await switch(root, "stop?mode=now")
        await alice.reaches(task_id, "queued")
        (tmp_path / "open").touch()
        await switch(root, "start")  # perhaps before it has stopped
        assert await alice.reaches(task_id, *ENDS) == "completed"
        log = await alice.log(task_id)
        check_log([frame.data for frame in log])
        assert states(log)[0] == ("queued", "handed_back")
        assert [f.data["attempt"] for f in log if f.type == "agent_start"] == [1, 2]
        bad = await root.call("POST", f"{RUNNER}/stop?mode=later")
        assert (bad.status, bad.slug) == (400, "invalid-parameter")


async def test_a_start_takes_back_a_stop_that_is_under_way(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = admin(alice)
        running = await alice.submit(gated(tmp_path))
        await alice.reaches(running, "running")
        assert (await switch(root, "stop"))["state"] == "draining"
        waiting = await alice.submit(QUICK)
        assert (await switch(root, "start"))["state"] == "running"
        assert await alice.reaches(waiting, *ENDS) == "completed"
        (tmp_path / "open").touch()
        assert await alice.reaches(running, *ENDS) == "completed"
        assert (await status(alice))["state"] == "running"
        assert (await switch(root, "stop"))["state"] in ("draining", "stopped")
        assert (await turns(alice, "stopped"))["runningTasks"] == 0
        assert (await switch(root, "stop"))["message"] == "The worker loop is stopped."


async def test_every_line_says_what_which_task_and_which_agent(tmp_path: Path) -> None:
    failing = task({"agent": "scripted-2", "outcome": "fail"}, title="failing one")
    async with inside(tmp_path, max_concurrent_tasks=1) as alice:
        root, bob = admin(alice), Client(alice.port, token("bob"))
        await switch(root, "stop")
        good, bad = await alice.submit(QUICK), await alice.submit(failing)
        await turns(alice, "stopped")
        await switch(root, "start")
        for task_id in (good, bad):
            await alice.reaches(task_id, *ENDS)
        await switch(root, "stop")
        await turns(alice, "stopped")
        found = await messages(root)
        named, failed = f'1 Task {good} "quick one": ', f'1 Task {bad} "failing one": '
        expected = [
            "0 Worker loop started with 1 slots", "0 Stop asked by root: 0 tasks running",
            "0 Worker loop stopped. 0 tasks waiting.", "0 Worker loop started by root with 1 slots",
            f"{named}started: scripted-1 (sequential)", f"{named}agent scripted-1 started",
            f"{named}agent scripted-1 finished after ", f"{named}finished: completed after ",
            f"{failed}started: scripted-2", f"{failed}agent scripted-2 started",
            f"{failed}agent scripted-2 ended after ", f"{failed}finished: failed after ",
        ]  # fmt: skip
        told = iter(found)
        for words in expected:
            assert any(line.startswith(words) for line in told), (words, found)
        assert any("scripted failure" in line for line in found)
        # Others see the loop, without titles, and nothing of slots that work for somebody else.
        strangers = await messages(bob)
        assert {line[0] for line in strangers} == {"0"}
        assert not any("one" in line.split() or good in line for line in strangers)
        own = await messages(alice)
        assert named + "started: scripted-1 (sequential)" in own
        await switch(root, "clear-logs")
        assert await messages(root) == []


def frames(body: bytes) -> Iterator[tuple[int, dict[str, Any]]]:
    for block in body.split(b"\n\n")[:-1]:
        lines = [x for x in block.split(b"\n") if not x.startswith((b":", b"retry:"))]
        assert [line.partition(b": ")[0] for line in lines] == [b"id", b"data"], "no event: line"
        yield int(lines[0][4:]), orjson.loads(lines[1][6:])


async def test_the_log_is_followed_live_and_resumed_where_it_was_left(tmp_path: Path) -> None:
    async with inside(tmp_path, runner_log_lines=120) as alice:
        root = admin(alice)
        for _ in range(30):  # four lines each
            await alice.run(QUICK)
        async with root.open("GET", f"{RUNNER}/logs") as stream:
            assert stream.status == 200
            body = await stream.read_until(lambda body: body.count(b"\ndata: ") >= 100)
            assert len(list(frames(body))) == 100, "the last 100 lines, then live"
            task_id = await alice.submit(QUICK)
            end = f'Task {task_id} \\"quick one\\": finished'.encode()
            body = await stream.read_until(lambda body: end in body and body.endswith(b"\n\n"))
        ids = [id for id, _ in frames(body)]
        assert ids == sorted(set(ids))
        half = list(frames(body))[60:]
        headers = [("Last-Event-ID", str(ids[59]))]
        async with root.open("GET", f"{RUNNER}/logs", headers=headers) as stream:
            again = await stream.read_until(lambda body: end in body and body.endswith(b"\n\n"))
        assert list(frames(again))[: len(half)] == half
        made = await root.call("POST", "/api/stream-tickets", {"runnerLog": True})
        path = f"{RUNNER}/logs?ticket={made.json()['ticket']}"
        async with Client(alice.port).open("GET", path, headers=headers) as stream:
            ticketed = await stream.read_until(lambda body: body == again)
        assert ticketed, "a native EventSource reads the same"
        wrong = await root.call("GET", f"{RUNNER}/logs", headers=[("Last-Event-ID", "x")])
        assert (wrong.status, wrong.slug) == (400, "invalid-last-event-id")
        history = await root.get(f"{RUNNER}/logs-history")
        assert (len(history["logs"]), history["isRunning"]) == (120, True), "no more are kept"


async def test_lines_outlive_the_process_and_a_stopped_loop_starts_with_nobody(
    tmp_path: Path,
) -> None:
    with process(tmp_path) as server:
        server.start(runner_autostart="false")
        alice, root = caller(server), caller(server, "root", "admin")
        assert (await status(alice))["state"] == "stopped"
        task_id = await alice.submit(QUICK)
        await switch(root, "start")
        assert await alice.reaches(task_id, *ENDS) == "completed"
        running = await alice.submit(HANG)
        await alice.reaches(running, "running")

        async def stored() -> bool:
            with contextlib.closing(sqlite3.connect(server.data_dir / "tasks.db")) as database:
                query = "SELECT count(*) FROM runner_log WHERE task_id = ?"
                return bool(database.execute(query, (running,)).fetchone()[0] >= 2)

        await until(stored, "its lines are stored")
        server.kill()
        server.start(runner_autostart=None)
        found = await messages(root)
        assert any(f'Task {task_id} "quick one": finished' in line for line in found)
        [recovered] = [line for line in found if "recovered" in line]
        assert recovered.startswith(f'0 Task {running} "hanging one": recovered: it was running')
        [hidden] = [line for line in await messages(caller(server, "bob")) if "recovered" in line]
        assert hidden.startswith(f"0 Task {running}: recovered"), "without the title"
        await alice.call("POST", f"/api/tasks/{running}/cancel")


async def test_a_loop_that_fails_says_so_and_starts_again(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        root = admin(alice)
        await switch(root, "stop")
        await turns(alice, "stopped")
        task_id = await alice.submit(QUICK)
        with contextlib.closing(sqlite3.connect(tmp_path / "tasks.db", timeout=10)) as database:
            database.execute(
                "CREATE TRIGGER broken BEFORE UPDATE ON task WHEN NEW.status = 'running'"
                " BEGIN SELECT RAISE(ABORT, 'no claim today'); END"
            )
            await switch(root, "start")

            async def failed() -> bool:
                return "lastError" in await status(alice)

            await until(failed, "it says so")
            assert (await status(alice))["isRunning"], "it is on its way"
            assert await alice.status(task_id) == "queued"
            database.execute("DROP TRIGGER broken")
        assert await alice.reaches(task_id, *ENDS) == "completed"
        found = await messages(root)
        assert any(line.startswith("0 Worker loop failed (StorageError: ") for line in found)
        assert "0 Worker loop starts again." in found
        assert types(await alice.log(task_id))[-1] == "task_complete"


async def test_what_was_cancelled_while_the_loop_stands_takes_no_place_in_the_queue(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path, max_queued_tasks=2) as alice:
        await switch(admin(alice), "stop")
        await turns(alice, "stopped")
        for _ in range(3):
            waiting = [await alice.submit(QUICK) for _ in range(2)]
            full = await alice.call("POST", "/api/tasks", QUICK)
            assert (full.status, full.slug) == (503, "overloaded")
            for task_id in waiting:
                assert (await alice.call("POST", f"/api/tasks/{task_id}/cancel")).status == 202
        assert (await status(alice))["queuedTasks"] == 0


async def test_what_was_cancelled_or_paused_while_no_slot_is_free_takes_no_place_in_the_queue(
    tmp_path: Path,
) -> None:
    async with inside(tmp_path, max_queued_tasks=2, max_concurrent_tasks=1) as alice:
        running = await alice.submit(HANG)
        for way in ("cancel", "pause"):
            for _ in range(2):
                for task_id in [await alice.submit(QUICK) for _ in range(2)]:
                    answer = await alice.call("POST", f"/api/tasks/{task_id}/{way}")
                    assert answer.status == 202
        for _ in range(3):  # a task that comes again takes one place
            assert (await alice.call("POST", f"/api/tasks/{task_id}/resume")).status == 202
            assert (await alice.call("POST", f"/api/tasks/{task_id}/pause")).status == 202
        waiting = [await alice.submit(QUICK) for _ in range(2)]
        full = await alice.call("POST", "/api/tasks", QUICK)
        assert (full.status, full.slug) == (503, "overloaded")
        assert (await status(alice))["queuedTasks"] == 2
        await alice.call("POST", f"/api/tasks/{running}/cancel")
        for task_id in waiting:
            await alice.reaches(task_id, "completed")
