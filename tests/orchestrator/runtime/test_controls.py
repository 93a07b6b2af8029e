"""Pause, resume, retry and cancel of tasks that really run."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentOptions, AgentResult
from orchestrator.clock import Clock
from orchestrator.errors import AgentError, Overloaded, TaskConflict
from orchestrator.events import Usage
from orchestrator.runtime import controls
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from orchestrator.store.listing import TaskFilter
from tests.grammar import check_log, parse_frames
from tests.orchestrator.teams import (
    OWNER,
    Work,
    at_file,
    eventually,
    fail,
    hang,
    log_of,
    read_to_end,
    service,
    settings,
    speak,
    status_of,
    submit,
    swallow,
    team,
    types,
    uncounted,
)  # fmt: skip

TERMINAL = ("task_complete", "task_error")
_ALL = TaskFilter()


async def control(opened: TaskService, name: str, task_id: str, **options: Any) -> str:
    call: Callable[..., Awaitable[str]] = getattr(opened, name)
    return await call(task_id, owner=OWNER, requested_by="me", **options)


async def reaches(opened: TaskService, task_id: str, status: str) -> None:
    async def there() -> bool:
        return await status_of(opened, task_id) == status

    await eventually(there)


async def read_until(reader: Reader | None, words: bytes) -> None:
    assert reader is not None
    data = b""
    async with asyncio.timeout(10):
        while words not in data:
            data += await reader.next() or b""


def gated(gate: asyncio.Event) -> Work:
    """An agent that waits for a gate."""

    async def work(context: AgentContext) -> None:
        await context.progress("waiting")
        await gate.wait()
        await context.write(f"{context.role} {context.attempt}")

    return work


def states(log: list[dict[str, Any]]) -> list[tuple[str, str]]:
    """What the log says of states, in order."""
    return [(e["state"], e["reason"]) for e in log if e["type"] == "task_state"]


class Shifted(Clock):
    """A clock that can be put forward."""

    seconds = 0.0

    def bind(self) -> None:
        super().bind()
        loops = self.monotonic
        self.monotonic = lambda: loops() + self.seconds


# -- pause and resume ---------------------------------------------------------------------------


async def test_a_pause_waits_for_the_agent_frees_the_slot_and_costs_no_time() -> None:
    gate, clock = asyncio.Event(), Shifted()
    registry = team(a=gated(gate), b=speak, c=speak)
    async with service(registry, settings(max_concurrent_tasks=1), clock=clock) as opened:
        first = await submit(opened, "a", "b", timeoutSeconds=1000)
        await read_until(first.reader, b"waiting")
        assert await control(opened, "pause", first.task_id) == "pausing"
        assert await control(opened, "pause", first.task_id) == "pausing"
        second = await submit(opened, "c")
        gate.set()
        await read_to_end(second.reader)  # in the slot of the first
        shot = await opened.snapshot(first.task_id, owner=OWNER)
        assert shot["status"] == "paused"
        assert [agent["status"] for agent in shot["agents"]] == ["completed", "pending"]
        clock.seconds = 5000
        assert await control(opened, "resume", first.task_id) == "queued"
        log = parse_frames(await read_to_end(first.reader))
        assert types(log)[-1] == "task_complete"
        assert log[-1]["totalExecutionTime"] < 1_000_000
        whole = await log_of(opened, first.task_id)
        assert states(whole) == [("pausing", "pause"), ("paused", "pause"), ("queued", "resume")]
        paused = next(e for e in whole if e.get("state") == "paused")
        assert (paused["requestedBy"], paused["done"]) == ("me", ["a"])
        assert [e["agentRole"] for e in whole if e["type"] == "agent_start"] == ["a", "b"]


async def test_a_pause_now_stops_the_agents_and_a_resume_starts_them_again() -> None:
    attempts: list[tuple[str, int]] = []

    async def work(context: AgentContext) -> None:
        attempts.append((context.role, context.attempt))
        if context.attempt == 1:
            await context.write("half a wo")
            await hang(context)
        await context.write("whole")

    async with service(team(a=work, b=work, c=speak)) as opened:
        given = await submit(opened, "a", "b", "c", executionMode="parallel")
        await eventually(lambda: len(attempts) == 2)
        await eventually(lambda: _delivered(opened, given.task_id, "c"))
        assert await control(opened, "pause", given.task_id, stop_now=True) == "pausing"
        await reaches(opened, given.task_id, "paused")
        shot = await opened.snapshot(given.task_id, owner=OWNER)
        assert [a["status"] for a in shot["agents"]] == ["pending", "pending", "completed"]
        [entry], _ = await opened.list(_ALL, before=None, limit=1)
        assert [a["status"] for a in entry["agents"]] == ["pending", "pending", "completed"]
        await control(opened, "resume", given.task_id)
        await read_to_end(given.reader)
        log = await log_of(opened, given.task_id)
        ends = [e for e in log if e["type"] == "agent_error"]
        assert {(e["status"], e["code"], e["willRetry"]) for e in ends} == {
            ("cancelled", "interrupted", True)
        }
        assert sorted(attempts) == [("a", 1), ("a", 2), ("b", 1), ("b", 2)]
        assert log[-1]["outputs"] == 3
        shot = await opened.snapshot(given.task_id, owner=OWNER)
        assert [a["content"] for a in shot["agents"][:2]] == ["whole", "whole"]


async def _delivered(opened: TaskService, task_id: str, role: str) -> bool:
    shot = await opened.snapshot(task_id, owner=OWNER)
    return any(a["status"] == "completed" for a in shot["agents"] if a["agentRole"] == role)


async def test_a_pause_that_is_taken_back_in_time_interrupts_nothing() -> None:
    gate = asyncio.Event()
    async with service(team(a=gated(gate), b=speak)) as opened:
        given = await submit(opened, "a", "b")
        await read_until(given.reader, b"waiting")
        await control(opened, "pause", given.task_id)
        assert await control(opened, "resume", given.task_id) == "running"
        assert await control(opened, "resume", given.task_id) == "running"  # a repeat
        gate.set()
        await read_to_end(given.reader)
        log = await log_of(opened, given.task_id)
        assert states(log) == [("pausing", "pause"), ("running", "resume")]
        assert types(log).count("agent_start") == 2


async def test_agents_that_were_stopped_start_again_when_the_pause_is_taken_back() -> None:
    release = asyncio.Event()
    attempts: list[int] = []

    async def work(context: AgentContext) -> None:
        attempts.append(context.attempt)
        if context.attempt == 1:
            await swallow(release)(context)

    async with service(team(a=work), settings(cancel_grace_seconds=0.1)) as opened:
        given = await submit(opened, "a")
        await read_until(given.reader, b"ignoring")
        assert await control(opened, "pause", given.task_id, stop_now=True) == "pausing"
        assert await control(opened, "resume", given.task_id) == "running"
        await read_to_end(given.reader)
        log = await log_of(opened, given.task_id)
        [end] = [e for e in log if e["type"] == "agent_error"]
        assert (end["status"], end["code"], end["willRetry"]) == ("cancelled", "not_stopped", True)
        assert (attempts, types(log)[-1]) == ([1, 2], "task_complete")
        release.set()


async def test_the_last_agent_that_ends_while_the_task_is_pausing_ends_it() -> None:
    gate = asyncio.Event()
    async with service(team(a=gated(gate))) as opened:
        given = await submit(opened, "a")
        await read_until(given.reader, b"waiting")
        assert await control(opened, "pause", given.task_id) == "pausing"
        gate.set()
        await read_to_end(given.reader)
        assert states(await log_of(opened, given.task_id)) == [("pausing", "pause")]
        assert await status_of(opened, given.task_id) == "completed"
        with pytest.raises(TaskConflict, match="The task is completed"):
            await control(opened, "pause", given.task_id)


async def test_a_queued_task_is_paused_at_once_and_runs_only_when_resumed() -> None:
    async with service(team(a=hang, b=speak), settings(max_concurrent_tasks=1)) as opened:
        first = await submit(opened, "a")
        second = await submit(opened, "b")
        assert await control(opened, "pause", second.task_id) == "paused"
        await control(opened, "cancel", first.task_id)
        await read_to_end(first.reader)
        await eventually(lambda: opened.worker._taken == 0)
        assert await status_of(opened, second.task_id) == "paused"
        assert await control(opened, "resume", second.task_id) == "queued"
        log = parse_frames(await read_to_end(second.reader))
        assert types(log)[:4] == ["task_created", "task_state", "task_state", "agent_start"]


async def test_a_pause_comes_between_two_attempts_too() -> None:
    async def work(context: AgentContext) -> None:
        if context.attempt < 3:
            raise AgentError("not yet", retryable=True)

    options = {"a": AgentOptions(max_attempts=3, retry_delay_seconds=50)}
    async with service(team(options, a=work)) as opened:
        given = await submit(opened, "a")
        for _ in range(2):
            await read_until(given.reader, b"agent_error")
            await control(opened, "pause", given.task_id)
            await reaches(opened, given.task_id, "paused")
            await control(opened, "resume", given.task_id)
        log = parse_frames(await read_to_end(given.reader))
        assert types(log)[-1] == "task_complete"
        log = await log_of(opened, given.task_id)
        assert [e["willRetry"] for e in log if e["type"] == "agent_error"] == [True, True]


# -- cancel in every state ------------------------------------------------------------------------


@pytest.mark.parametrize("stop_now", [False, True])
async def test_a_task_that_is_pausing_is_cancelled_with_its_receipt(stop_now: bool) -> None:
    release = asyncio.Event()
    registry = team(a=swallow(release), b=speak)
    async with service(registry, settings(cancel_grace_seconds=0.05)) as opened:
        given = await submit(opened, "a", "b")
        await read_until(given.reader, b"ignoring")
        await control(opened, "pause", given.task_id, stop_now=stop_now)
        assert await control(opened, "cancel", given.task_id) == "cancelling"
        assert await control(opened, "cancel", given.task_id) in ("cancelling", "cancelled")
        await read_to_end(given.reader)
        log = await log_of(opened, given.task_id)
        assert (log[-1]["status"], log[-1]["notStopped"]) == ("cancelled", ["a"])
        assert log[-2]["willRetry"] is False
        release.set()


async def test_a_paused_task_is_cancelled_at_once() -> None:
    gate = asyncio.Event()
    async with service(team(a=gated(gate), b=speak)) as opened:
        given = await submit(opened, "a", "b")
        await read_until(given.reader, b"waiting")
        await control(opened, "pause", given.task_id)
        gate.set()
        await reaches(opened, given.task_id, "paused")
        assert await control(opened, "cancel", given.task_id) == "cancelled"
        await read_to_end(given.reader)
        task = await opened.find(given.task_id, owner=OWNER)
        assert task.agents_completed == 1
        assert types(await log_of(opened, given.task_id))[-2:] == ["task_state", "task_error"]


async def test_a_cancel_that_its_owner_does_not_end_is_ended_by_somebody_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(controls, "OVERDUE_SECONDS", 0.05)
    async with service(team(a=hang), settings(cancel_grace_seconds=0.05)) as opened:
        given = await submit(opened, "a")
        await read_until(given.reader, b"hanging")
        run = opened.worker._running.pop(1)  # a run that hears nothing any more
        await control(opened, "cancel", given.task_id)
        log = parse_frames(await read_to_end(given.reader))
        assert (log[-1]["status"], log[-1]["notStopped"]) == ("cancelled", ["a"])
        assert log[-2]["code"] == "not_stopped"
        await log_of(opened, given.task_id)
        # Whatever the run still does: nothing of it is stored.
        run.tell("cancel")
        await eventually(lambda: opened.worker._taken == 0)
        assert (await log_of(opened, given.task_id))[-1]["seq"] == log[-1]["seq"]


async def test_a_cancel_that_ended_in_time_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(controls, "OVERDUE_SECONDS", 0.0)
    async with service(team(a=hang), settings(cancel_grace_seconds=0.01)) as opened:
        for _ in range(2):  # the second one is cancelled anew, with another deadline
            given = await submit(opened, "a")
            await read_until(given.reader, b"hanging")
            await control(opened, "cancel", given.task_id)
            await read_to_end(given.reader)
        await eventually(lambda: not opened._controls._overdue)
        log = await log_of(opened, given.task_id)
        assert [e["type"] for e in log].count("task_error") == 1


# -- retry ----------------------------------------------------------------------------------------


async def test_a_retry_runs_only_what_did_not_complete_in_the_same_log() -> None:
    healthy = asyncio.Event()
    ran: list[tuple[str, int]] = []

    async def work(context: AgentContext) -> AgentResult:
        ran.append((context.role, context.attempt))
        if context.role == "b" and not healthy.is_set():
            raise AgentError("broken")
        seen = {role: output.text for role, output in context.outputs.items()}
        await context.write(f"{context.role} {sorted(seen)}")
        return AgentResult(usage=Usage(input_tokens=1))

    async with service(team(a=work, b=work, c=work)) as opened:
        given = await submit(opened, "a", "b", "c")
        frames = await read_to_end(given.reader)
        behind = await opened.attach(given.task_id, owner=OWNER)  # has read nothing yet
        assert parse_frames(frames)[-1]["code"] == "agent_failed"
        last = len(frames)
        healthy.set()
        assert await control(opened, "retry", given.task_id, last_event_id=last) == "queued"
        again = await control(opened, "retry", given.task_id, last_event_id=last)
        assert again in ("queued", "running", "completed")
        log = parse_frames(await read_to_end(behind))
        assert log == await log_of(opened, given.task_id)
        assert [e["type"] for e in log if e["type"] in TERMINAL] == ["task_error", "task_complete"]
        assert ran == [("a", 1), ("b", 1), ("b", 2), ("c", 1)]
        assert states(log) == [("queued", "retry")]
        assert log[-1]["outputs"] == 3
        assert log[-1]["usage"]["inputTokens"] == 3
        shot = await opened.snapshot(given.task_id, owner=OWNER)
        assert (shot["status"], "error" in shot) == ("completed", False)
        assert shot["agents"][2]["content"] == "c ['a', 'b']"
        with pytest.raises(TaskConflict, match="gone on since then"):
            await control(opened, "retry", given.task_id, last_event_id=last)


async def test_a_retry_of_failed_agents_keeps_what_the_others_delivered() -> None:
    broken = {"b", "c"}
    ran: list[str] = []

    async def work(context: AgentContext) -> None:
        ran.append(context.role)
        if context.role in broken:
            raise AgentError("broken")

    async with service(team(a=work, b=work, c=work)) as opened:
        given = await submit(opened, "a", "b", "c", executionMode="parallel")
        frames = await read_to_end(given.reader)
        assert parse_frames(frames)[-1]["failedAgents"] == ["b", "c"]
        for healed, left in (("b", ["c"]), ("c", [])):
            broken.discard(healed)
            reader = await opened.attach(given.task_id, owner=OWNER, after=len(frames))
            await control(opened, "retry", given.task_id)
            frames += await read_to_end(reader)
            assert parse_frames(frames)[-1]["failedAgents"] == left
        assert sorted(ran) == ["a", "b", "b", "c", "c", "c"]
        check_log(parse_frames(frames))
        with pytest.raises(TaskConflict, match="every agent has delivered"):
            await control(opened, "retry", given.task_id)


async def test_each_retry_has_active_time_budget_and_attempts_of_its_own() -> None:
    async def work(context: AgentContext) -> AgentResult:
        return AgentResult(usage=Usage(input_tokens=8))

    async def stumble(context: AgentContext) -> None:
        raise AgentError("again", retryable=True)

    options = {"s": AgentOptions(max_attempts=2, retry_delay_seconds=0.001)}
    registry = team(options, a=work, b=work, h=hang, s=stumble)
    async with service(registry) as opened:
        slow = await submit(opened, "h", timeoutSeconds=0.05)
        costly = await submit(opened, "a", "b", "h", budget={"tokens": 10})
        twice = await submit(opened, "s")
        for given in (slow, costly, twice):
            await read_to_end(given.reader)
            reader = await opened.attach(given.task_id, owner=OWNER, after=1)
            await control(opened, "retry", given.task_id)
            if given is costly:  # what was spent before does not count, but is told
                await read_until(reader, b"hanging")
                await control(opened, "cancel", given.task_id)
            await read_to_end(reader)
        log = await log_of(opened, slow.task_id)
        assert [e["status"] for e in log if e["type"] == "task_error"] == ["timed_out"] * 2
        assert all(40 <= e["totalExecutionTime"] < 5000 for e in log if e["type"] == "task_error")
        assert types(log).count("agent_start") == 2
        log = await log_of(opened, costly.task_id)
        assert [e["code"] for e in log if e["type"] == "task_error"] == [
            "budget_exhausted", "cancelled",
        ]  # fmt: skip
        log = await log_of(opened, twice.task_id)
        retries = [e["willRetry"] for e in log if e["type"] == "agent_error"]
        assert retries == [True, False, True, False]


async def test_a_task_that_waited_for_another_one_waits_again_when_it_is_retried() -> None:
    healthy = asyncio.Event()

    async def work(context: AgentContext) -> None:
        if not healthy.is_set():
            raise AgentError("broken")

    async with service(team(a=work, b=speak)) as opened:
        first = await submit(opened, "a")
        await read_to_end(first.reader)
        second = await submit(opened, "b", after=[first.task_id])
        await read_to_end(second.reader)
        words = "which must complete first, did not; retry that one first"
        with pytest.raises(TaskConflict, match=words):
            await control(opened, "retry", second.task_id)
        shot = await opened.snapshot(second.task_id, owner=OWNER)
        assert words in shot["actions"]["retry"]["reason"]
        opened.worker._accepting = False
        await control(opened, "retry", first.task_id)
        await control(opened, "retry", second.task_id)
        healthy.set()
        opened.worker.start()
        await reaches(opened, second.task_id, "completed")
        tasks = [await opened.find(t.task_id, owner=OWNER) for t in (first, second)]
        assert tasks[0].ended <= tasks[1].started  # type: ignore[operator]


async def test_a_retry_is_refused_while_the_queue_is_full_and_its_repeat_is_not() -> None:
    given = settings(max_concurrent_tasks=1, max_queued_tasks=1)
    async with service(team(a=fail, h=hang), given) as opened:
        failed = []
        for _ in range(2):
            each = await submit(opened, "a")
            await read_to_end(each.reader)
            failed.append(each.task_id)
        hanging = await submit(opened, "h")
        for _ in range(2):
            assert await control(opened, "retry", failed[0]) == "queued"
        with pytest.raises(Overloaded):
            await control(opened, "retry", failed[1])
        await control(opened, "cancel", hanging.task_id)
        await read_to_end(hanging.reader)
        await reaches(opened, failed[0], "failed")
        assert await control(opened, "retry", failed[1]) == "queued"
        await reaches(opened, failed[1], "failed")


# -- restarts -------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop_now", [False, True])
async def test_a_drain_leaves_a_task_that_is_pausing_paused(tmp_path: Path, stop_now: bool) -> None:
    async def work(context: AgentContext) -> None:
        if context.attempt == 1:
            await hang(context)

    path = tmp_path / "t.db"
    async with service(team(a=speak, b=work), at_file(path)) as opened:
        given = await submit(opened, "a", "b")
        await read_until(given.reader, b"hanging")
        await control(opened, "pause", given.task_id, stop_now=stop_now)
        await opened.drain(0)
        assert await status_of(opened, given.task_id) == "paused"
        log = await log_of(opened, given.task_id, ended=False)
        assert (log[-2]["code"], log[-2]["willRetry"]) == ("interrupted", True)
        assert (log[-1]["state"], log[-1]["reason"], log[-1]["done"]) == ("paused", "pause", ["a"])
    async with service(team(a=speak, b=work), at_file(path)) as opened:
        assert await status_of(opened, given.task_id) == "paused"
        await control(opened, "resume", given.task_id)
        await reaches(opened, given.task_id, "completed")
        await log_of(opened, given.task_id)


async def test_attempts_that_failed_before_a_restart_count_and_interrupted_ones_do_not(
    tmp_path: Path,
) -> None:
    async def work(context: AgentContext) -> None:
        if context.attempt == 2:
            await hang(context)
        raise AgentError("broken", retryable=True)

    path = tmp_path / "t.db"
    registry = team({"a": AgentOptions(max_attempts=3, retry_delay_seconds=0.001)}, a=work)
    async with service(registry, at_file(path)) as opened:
        given = await submit(opened, "a")
        await read_until(given.reader, b"hanging")  # the first failed, the second is interrupted
    async with service(registry, at_file(path)) as opened:
        await reaches(opened, given.task_id, "failed")
        log = await log_of(opened, given.task_id)
        ends = [(e["code"], e["willRetry"]) for e in log if e["type"] == "agent_error"]
        assert ends == [
            ("agent_failed", True), ("interrupted", True), ("agent_failed", True),
            ("agent_failed", False),
        ]  # fmt: skip


# -- races ----------------------------------------------------------------------------------------


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def attempted(call: Awaitable[str]) -> str | None:
    with contextlib.suppress(TaskConflict):
        return await call
    return None


def ends_of(log: list[dict[str, Any]]) -> int:
    return sum(type in TERMINAL for type in types(log))


async def test_a_hundred_cancels_that_race_with_the_end_leave_one_terminal_event_each() -> None:
    async def work(context: AgentContext) -> None:
        await turns(context.inputs["turns"])

    async with service(team(a=work)) as opened:
        ended: list[str] = []
        while len(ended) < 100 or set(ended) != {"completed", "cancelled"}:
            attempt = len(ended)
            assert attempt < 1000, "no race took place"
            given = await submit(opened, "a", inputs={"turns": attempt % 25})
            await turns((attempt % 25) ** 2)
            calls = [attempted(control(opened, "cancel", given.task_id)) for _ in range(3)]
            await asyncio.gather(*calls)
            await read_to_end(given.reader)
            log = await log_of(opened, given.task_id)
            assert ends_of(log) == 1
            ended.append(await status_of(opened, given.task_id))
            assert log[-1].get("status", "completed") == ended[-1]


async def test_a_pause_that_races_with_the_end_of_an_agent_or_the_task() -> None:
    async def work(context: AgentContext) -> None:
        await turns(context.inputs["turns"])

    async with service(team(a=work, b=work)) as opened:
        seen: set[str] = set()
        wanted = {"pausing", "paused", "running", "None"}  # None: it came too late
        attempt = 0
        while attempt < 60 or not wanted <= seen:
            attempt += 1
            assert attempt < 1000, "no race took place"
            given = await submit(opened, "a", "b", inputs={"turns": attempt % 12})
            await turns((attempt % 30) ** 2)
            stop_now = attempt % 2 == 1
            answer = await attempted(control(opened, "pause", given.task_id, stop_now=stop_now))
            await turns(attempt % 7)
            await attempted(control(opened, "resume", given.task_id))
            log = parse_frames(await read_to_end(given.reader))
            check_log(log)
            assert (ends_of(log), types(log)[-1]) == (1, "task_complete")
            seen |= {state for state, _ in states(log)} | {str(answer)}
        await eventually(lambda: opened.worker._taken == 0)


async def test_retries_and_cancels_at_once_end_once_for_each_retry() -> None:
    async def work(context: AgentContext) -> None:
        await turns(3)
        raise AgentError("broken")

    async with service(team(a=work)) as opened:
        given = await submit(opened, "a")
        await read_to_end(given.reader)
        statuses: set[str] = set()
        attempt = -1
        while attempt < 50 or statuses != {"failed", "cancelled"}:
            attempt += 1
            assert attempt < 500, "no race took place"
            last = len(await log_of(opened, given.task_id))
            calls = [control(opened, "retry", given.task_id, last_event_id=last) for _ in range(2)]
            retrying = asyncio.gather(*map(attempted, calls))
            await turns((attempt % 20) ** 2)
            await attempted(control(opened, "cancel", given.task_id))
            await retrying
            reader = await opened.attach(given.task_id, owner=OWNER, after=last)
            if not reader.ended:
                await read_to_end(reader)
            reader.close()
            log = await log_of(opened, given.task_id)
            retried = states(log).count(("queued", "retry"))
            assert (retried, ends_of(log)) == (attempt + 1, attempt + 2)
            statuses.add(log[-1]["status"])
        await eventually(lambda: opened.worker._taken == 0)


async def test_what_was_asked_of_a_task_counts_as_its_log() -> None:
    async with service(team(a=hang)) as opened:
        given = await submit(opened, "a")
        assert await control(opened, "pause", given.task_id, stop_now=True) == "pausing"
        await reaches(opened, given.task_id, "paused")
        assert await uncounted(opened, given.task_id) == 0
        await control(opened, "resume", given.task_id)
        await reaches(opened, given.task_id, "running")
        await control(opened, "cancel", given.task_id)
        await reaches(opened, given.task_id, "cancelled")
        assert await uncounted(opened, given.task_id) == 0
        await control(opened, "retry", given.task_id)
        await control(opened, "cancel", given.task_id)
        await reaches(opened, given.task_id, "cancelled")
        assert await uncounted(opened, given.task_id) == 0
