"""Whole tasks without a database: order, failures, retries, limits and cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable
from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.deadlines import Deadlines
from orchestrator.errors import AgentError, AttemptClosed, CallbackFailed, InvalidRequest
from orchestrator.events import AgentFailed, AgentStart, Event, TaskFailed, Usage
from orchestrator.orchestrator import Orchestrator
from orchestrator.progress import CallbackRecorder
from orchestrator.runs import Progress, TaskRun, task_info
from orchestrator.tasks import TaskStatus
from tests.orchestrator.teams import (
    Told,
    eventually,
    execute,
    fail,
    hang,
    request,
    speak,
    swallow,
    team,
)  # fmt: skip

AGAIN = AgentOptions(max_attempts=3, retry_delay_seconds=0.001)


def outcome(told: Told) -> tuple[str, str, list[str], list[str]]:
    result = told.result
    return result.status.value, result.code, list(result.outputs), list(result.failed)


async def test_agents_run_one_after_another_and_hand_on_what_they_made() -> None:
    async def second(context: AgentContext) -> AgentResult:
        first = context.outputs["first"]
        await context.write(f"after {first.text} {first.output} {first.artifacts[0].name}")
        return AgentResult()

    async def first(context: AgentContext) -> AgentResult:
        await context.write("wri")
        await context.write("tten")
        await context.save_artifact("report.md", "# Report", "text/markdown")
        return AgentResult(output={"n": 1})

    told = await execute(team(first=first, second=second), request("first", "second"))
    assert outcome(told) == ("completed", "", ["first", "second"], [])
    assert told.result.outputs["second"].text == "after written {'n': 1} report.md"
    assert told.result.artifacts == {("first", "report.md"): b"# Report"}
    assert told.types == [
        "task_created", "agent_start", "agent_progress", "agent_progress", "agent_progress",
        "agent_complete", "agent_start", "agent_progress", "agent_complete", "task_complete",
    ]  # fmt: skip


async def test_parallel_agents_overlap() -> None:
    barrier = asyncio.Barrier(3)

    async def meet(context: AgentContext) -> None:
        await asyncio.wait_for(barrier.wait(), 5)

    told = await execute(
        team(a=meet, b=meet, c=meet), request("a", "b", "c", executionMode="parallel")
    )
    assert outcome(told)[:2] == ("completed", "")
    assert sorted(told.result.outputs) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("fields", "most"),
    [
        ({"executionMode": "parallel", "maxParallel": 2}, 2),
        ({"executionMode": "parallel"}, 5),
        ({"executionMode": "parallel", "maxParallel": 50}, 5),
        ({}, 1),
        ({"executionMode": "graph", "maxParallel": 3}, 3),
    ],
)
async def test_no_more_agents_run_at_once_than_asked_for(fields: dict[str, Any], most: int) -> None:
    running, peak = 0, 0

    async def count(context: AgentContext) -> None:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        for _ in range(20):
            await asyncio.sleep(0)
        running -= 1

    roles = "abcde"
    await execute(team(**dict.fromkeys(roles, count)), request(*roles, **fields))
    assert peak == most


@pytest.mark.parametrize(
    ("roles", "fields", "expected"),
    [
        # (roles: x fails, others deliver) → status, code, delivered, failed
        ("axb", {}, ("failed", "agent_failed", ["a"], ["x"])),
        ("xab", {}, ("failed", "agent_failed", [], ["x"])),
        ("x", {}, ("failed", "all_agents_failed", [], ["x"])),
        ("x", {"onAgentError": "continue"}, ("failed", "all_agents_failed", [], ["x"])),
        ("axb", {"onAgentError": "continue"}, ("completed", "", ["a", "b"], ["x"])),
        ("axb", {"executionMode": "parallel"}, ("completed", "", ["a", "b"], ["x"])),
        ("xy", {"executionMode": "parallel"}, ("failed", "all_agents_failed", [], ["x", "y"])),
        ("xy", {"onAgentError": "continue"}, ("failed", "all_agents_failed", [], ["x", "y"])),
        ("axb", {"executionMode": "parallel", "onAgentError": "stop"},
         ("failed", "agent_failed", ["a", "b"], ["x"])),
        ("axb", {"executionMode": "graph", "dependsOn": {"x": ["a"], "b": ["x"]}},
         ("failed", "agent_failed", ["a"], ["x"])),
        ("axb", {"executionMode": "graph", "dependsOn": {"x": ["a"], "b": ["x"]},
                 "onAgentError": "continue"}, ("completed", "", ["a"], ["x"])),
        ("xab", {"executionMode": "graph", "dependsOn": {"a": ["x"]}, "onAgentError": "continue"},
         ("completed", "", ["b"], ["x"])),
        ("xa", {"executionMode": "graph", "dependsOn": {"a": ["x"]}, "onAgentError": "continue"},
         ("failed", "all_agents_failed", [], ["x"])),
    ],
)  # fmt: skip
async def test_failing_agents_decide_how_the_task_ends(
    roles: str, fields: dict[str, Any], expected: tuple[str, str, list[str], list[str]]
) -> None:
    registry = team(a=speak, b=speak, x=fail, y=fail)
    assert outcome(await execute(registry, request(*roles, **fields))) == expected


async def test_a_graph_starts_an_agent_when_all_it_needs_has_delivered() -> None:
    told = await execute(
        team(a=speak, b=speak, c=speak, d=speak),
        request("d", "c", "b", "a", executionMode="graph",
                dependsOn={"d": ["b", "c"], "b": ["a"], "c": ["a"]}),
    )  # fmt: skip
    ends = [event["agentRole"] for event in told.logged if event["type"] == "agent_complete"]
    starts = [event["agentRole"] for event in told.logged if event["type"] == "agent_start"]
    assert starts == ["a", "c", "b", "d"]
    assert ends[0] == "a"
    assert ends[-1] == "d"


async def test_an_unexpected_error_shows_its_class_and_no_detail() -> None:
    told = await execute(team(x=fail), request("x"))
    error = told.result.failed["x"].error
    assert error.startswith("ValueError (details are in the server log under ")
    assert "secret" not in repr(told.events)


class Terrible(BaseException):
    pass


@pytest.mark.parametrize(
    ("raised", "words"),
    [
        (AgentError("in my own words", code="mine"), "in my own words"),
        (SystemExit(3), "The agent called for an exit (SystemExit)."),
        (KeyboardInterrupt(), "The agent called for an exit (KeyboardInterrupt)."),
        (asyncio.CancelledError(), "The agent cancelled itself."),
        (GeneratorExit(), "GeneratorExit (details"),
        (Terrible(), "Terrible (details"),
        (BaseExceptionGroup("g", [Terrible()]), "BaseExceptionGroup (details"),
        (TimeoutError("socket"), "TimeoutError (details"),
        (AgentError("name \udcff.txt"), "name �.txt"),
    ],
)
async def test_whatever_an_agent_raises_ends_its_attempt_only(
    raised: BaseException, words: str
) -> None:
    async def bad(context: AgentContext) -> None:
        raise raised

    told = await execute(team(bad=bad, good=speak), request("bad", "good", onAgentError="continue"))
    assert outcome(told) == ("completed", "", ["good"], ["bad"])
    assert told.result.failed["bad"].error.startswith(words)


@pytest.mark.parametrize("returned", [{}, {"a": 1}, "text", 0, 7, [], ()])
async def test_an_agent_that_returns_something_else_has_failed(returned: Any) -> None:
    async def bad(context: AgentContext) -> Any:
        return returned

    told = await execute(team(bad=bad), request("bad"))
    assert f"returned {type(returned).__name__}" in told.result.failed["bad"].error


async def test_an_output_that_is_no_json_at_all_is_a_failure_of_the_agent() -> None:
    class Odd:
        def __str__(self) -> str:
            raise RuntimeError("no text either")

    async def bad(context: AgentContext) -> AgentResult:
        return AgentResult(output=Odd())

    told = await execute(team(bad=bad), request("bad"))
    assert outcome(told) == ("failed", "all_agents_failed", [], ["bad"])


async def test_retryable_failures_are_tried_again_and_the_checkpoint_comes_back() -> None:
    seen: list[tuple[int, Any]] = []

    async def work(context: AgentContext) -> None:
        seen.append((context.attempt, context.restored))
        await context.write(f"attempt {context.attempt}")
        if context.attempt < 3:
            await context.checkpoint({"done": context.attempt})
            raise AgentError("busy", code="rate_limited", retryable=True)

    told = await execute(team({"a": AGAIN}, a=work), request("a"))
    assert seen == [(1, None), (2, {"done": 1}), (3, {"done": 2})]
    assert told.result.outputs["a"].text == "attempt 3"
    again = [event.will_retry for event in told.events if isinstance(event, AgentFailed)]
    assert again == [True, True]


@pytest.mark.parametrize(
    ("retryable", "attempts"), [(False, 1), (True, 3)], ids=["not retryable", "retryable"]
)
async def test_only_retryable_failures_are_tried_again(retryable: bool, attempts: int) -> None:
    async def work(context: AgentContext) -> None:
        raise AgentError("no", retryable=retryable)

    told = await execute(team({"a": AGAIN}, a=work), request("a"))
    assert sum(isinstance(event, AgentStart) for event in told.events) == attempts
    last = [event for event in told.events if isinstance(event, AgentFailed)][-1]
    assert last.will_retry is False


async def test_an_agents_timeout_is_per_attempt_and_tried_again() -> None:
    async def work(context: AgentContext) -> None:
        if context.attempt == 1:
            await hang(context)

    options = AgentOptions(max_attempts=2, retry_delay_seconds=0.001, timeout_seconds=0.05)
    told = await execute(team({"a": options}, a=work), request("a"))
    first = next(event for event in told.events if isinstance(event, AgentFailed))
    assert (first.status, first.code, first.will_retry) == ("timeout", "timeout", True)
    assert first.error == "The agent took longer than its timeout of 0.05 s."
    assert told.result.status == TaskStatus.COMPLETED


@pytest.mark.parametrize("options", [AgentOptions(), AgentOptions(max_attempts=3)])
async def test_a_tasks_timeout_closes_its_attempts_and_tries_nothing_again(
    options: AgentOptions,
) -> None:
    told = await execute(
        team({"a": options}, a=hang, b=speak), request("a", "b", timeoutSeconds=0.05)
    )
    assert outcome(told) == ("timed_out", "timeout", [], ["a"])
    end = next(event for event in told.events if isinstance(event, AgentFailed))
    assert (end.status, end.code, end.will_retry) == ("timeout", "timeout", False)


@pytest.mark.parametrize(
    "budget", [{"tokens": 10}, {"costUsd": 0.5}, {"seconds": 0.05}], ids=["tokens", "cost", "time"]
)
async def test_the_first_budget_that_is_reached_ends_the_task(budget: dict[str, Any]) -> None:
    async def spend(context: AgentContext) -> AgentResult:
        return AgentResult(usage=Usage(input_tokens=6, output_tokens=4, cost_usd=0.5))

    told = await execute(team(a=spend, b=hang), request("a", "b", budget=budget))
    assert told.result.status == TaskStatus.FAILED
    assert told.result.code == "budget_exhausted"
    assert list(told.result.outputs) == ["a"]
    assert told.result.usage == Usage(input_tokens=6, output_tokens=4, cost_usd=0.5)


async def test_a_budget_that_was_spent_in_an_earlier_run_starts_nothing() -> None:
    recorder = CallbackRecorder("t", None)
    task = request("a", "b", budget={"tokens": 10})
    earlier = Progress()
    earlier.spent = Usage(input_tokens=10)
    run = TaskRun(
        Orchestrator(team(a=hang, b=hang)).options, task_info("t", task), task, recorder,
        Deadlines(asyncio.get_running_loop()), earlier,
    )  # fmt: skip
    result = await asyncio.wait_for(run.drive(), 5)
    assert (result.status, result.code) == (TaskStatus.FAILED, "budget_exhausted")


async def test_the_time_earlier_runs_took_counts() -> None:
    task = request("a", timeoutSeconds=1000)
    earlier = Progress()
    earlier.active_seconds = 999.95
    run = TaskRun(
        Orchestrator(team(a=hang)).options,
        task_info("t", task),
        task,
        CallbackRecorder("t", None),
        Deadlines(asyncio.get_running_loop()),
        earlier,
    )
    result = await asyncio.wait_for(run.drive(), 5)
    assert result.status == TaskStatus.TIMED_OUT


async def test_cancelling_the_caller_stops_the_agents_first() -> None:
    stopped = asyncio.Event()
    events: list[Event] = []

    async def work(context: AgentContext) -> None:
        try:
            await hang(context)
        finally:
            stopped.set()

    running = asyncio.create_task(
        Orchestrator(team(a=work, b=speak)).execute_task(request("a", "b"), events.append)
    )
    await eventually(lambda: len(events) == 3)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert stopped.is_set()
    assert [event.type for event in events] == [
        "task_created", "agent_start", "agent_progress", "agent_error", "task_error",
    ]  # fmt: skip


async def test_agents_that_do_not_stop_are_left_behind_and_named() -> None:
    release = asyncio.Event()
    registry = team(deaf=swallow(release), good=hang)
    told = await execute(
        registry,
        request("deaf", "good", executionMode="parallel", timeoutSeconds=0.05),
        cancel_grace_seconds=0.1,
    )
    release.set()
    last = told.events[-1]
    assert isinstance(last, TaskFailed)
    assert (last.status, last.not_stopped) == ("timed_out", ["deaf"])
    assert told.result.not_stopped == ("deaf",)
    assert told.result.failed["deaf"].code == "not_stopped"


async def test_what_a_left_behind_agent_reports_later_is_refused() -> None:
    release = asyncio.Event()
    late: list[BaseException] = []

    async def deaf(context: AgentContext) -> None:
        await swallow(release)(context)
        for call in (context.write("late"), context.progress("late"), context.checkpoint(1)):
            try:
                await call
            except Exception as error:
                late.append(error)

    told = await execute(
        team(deaf=deaf), request("deaf", timeoutSeconds=0.05), cancel_grace_seconds=0.05
    )
    count = len(told.events)
    release.set()
    await eventually(lambda: len(late) == 3)
    assert [type(error).__name__ for error in late] == ["AttemptClosed"] * 3
    assert len(told.events) == count


async def test_no_grace_still_delivers_the_cancel() -> None:
    told = await execute(team(a=hang), request("a", timeoutSeconds=0.05), cancel_grace_seconds=0)
    assert told.result.not_stopped == ()
    assert told.result.failed["a"].code == "timeout"


async def test_something_an_agent_left_running_reports_nothing_behind_its_end() -> None:
    left: list[asyncio.Task[None]] = []

    async def chatter(context: AgentContext) -> None:
        with contextlib.suppress(AttemptClosed):
            while True:
                await context.progress("still here")
                await asyncio.sleep(0)

    async def work(context: AgentContext) -> None:
        left.append(asyncio.create_task(chatter(context)))
        await asyncio.sleep(0)

    events: list[Event] = []

    async def callback(event: Event) -> None:
        events.append(event)
        if event.type == "agent_complete":
            for _ in range(10):
                await asyncio.sleep(0)

    await Orchestrator(team(a=work)).execute_task(request("a"), callback)
    assert [event.type for event in events][-2:] == ["agent_complete", "task_complete"]
    await asyncio.wait(left)


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize(
    "at", ["task_created", "agent_start", "agent_progress", "agent_complete", "task_complete"]
)
async def test_a_callback_that_raises_ends_the_run(kind: str, at: str) -> None:
    def raises(event: Event) -> None:
        if event.type == at:
            raise ZeroDivisionError

    async def raises_later(event: Event) -> None:
        raises(event)

    callback = raises if kind == "sync" else raises_later
    result = await Orchestrator(team(a=speak, b=speak)).execute_task(request("a", "b"), callback)
    assert (result.status, result.code) == (TaskStatus.FAILED, "callback_failed")


async def test_an_agent_cannot_swallow_the_failure_of_a_callback() -> None:
    calls = 0

    def callback(event: Event) -> None:
        nonlocal calls
        if event.type == "agent_progress":
            calls += 1
            raise ZeroDivisionError

    async def greedy(context: AgentContext) -> None:
        for _ in range(5):
            try:
                await context.progress("again")
            except CallbackFailed:
                continue

    result = await Orchestrator(team(a=greedy)).execute_task(request("a"), callback)
    assert result.code == "callback_failed"
    assert calls == 1


async def test_a_slow_callback_slows_the_agent_that_reports() -> None:
    room = asyncio.Event()
    sent: list[int] = []

    async def callback(event: Event) -> None:
        if event.type == "agent_progress":
            await room.wait()

    async def work(context: AgentContext) -> None:
        for number in range(3):
            await context.progress(str(number))
            sent.append(number)

    running = asyncio.create_task(Orchestrator(team(a=work)).execute_task(request("a"), callback))
    for _ in range(50):
        await asyncio.sleep(0)
    assert sent == []
    room.set()
    await running
    assert sent == [0, 1, 2]


async def test_an_agent_that_is_not_there_is_refused_before_anything_runs() -> None:
    registry = team(a=speak)
    registry.register(team(b=speak)["b"].agent, unavailable="set MODEL")
    events: list[Event] = []
    with pytest.raises(InvalidRequest) as caught:
        await Orchestrator(registry).execute_task(request("a", "b", "c"), events.append)
    assert [error.pointer for error in caught.value.errors] == [
        "/selectedAgents/1", "/selectedAgents/2",
    ]  # fmt: skip
    assert "set MODEL" in caught.value.errors[0].detail
    assert events == []


async def test_text_that_was_not_streamed_is_written_before_the_end() -> None:
    async def work(context: AgentContext) -> AgentResult:
        await context.write("streamed. ")
        return AgentResult(text="returned.")

    async def both(context: AgentContext) -> AgentResult:
        await context.write("the same \ud800")
        return AgentResult(text="the same \ud800")

    told = await execute(team(a=work, b=both), request("a", "b"))
    assert told.result.outputs["a"].text == "streamed. returned."
    assert told.result.outputs["b"].text == "the same �"
    pieces = [e["content"] for e in told.logged if "content" in e]
    assert pieces == ["streamed. ", "returned.", "the same �"]


async def test_two_tasks_of_one_orchestrator_do_not_meet() -> None:
    orchestrator = Orchestrator(team(a=speak))
    waits: list[Awaitable[Any]] = [orchestrator.execute_task(request("a")) for _ in range(20)]
    results = await asyncio.gather(*waits)
    assert len({result.task_id for result in results}) == 20
    assert {result.outputs["a"].text for result in results} == {"a 1"}


def test_an_empty_registry_has_no_agent() -> None:
    assert len(AgentRegistry()) == 0
    assert "a" not in AgentRegistry()
