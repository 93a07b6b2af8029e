"""One attempt: its end for every way an agent can be stopped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.agents import (
    AgentContext,
    AgentOptions,
    AgentOutput,
    AgentRegistry,
    AgentResult,
    Registration,
    TaskInfo,
)  # fmt: skip
from orchestrator.attempts import CANCEL_AGAIN_SECONDS, Attempt
from orchestrator.clock import Clock
from orchestrator.deadlines import Deadlines
from orchestrator.errors import AgentError, AppendRefused
from orchestrator.events import AgentComplete, AgentFailed, Event
from orchestrator.options import RunOptions
from orchestrator.outcomes import Outcome, Stop
from orchestrator.progress import CallbackRecorder, Limits, Reporter
from tests.orchestrator.teams import Work, WorkAgent, eventually, hang, speak, swallow


class Trial:
    """One attempt and everything it reported."""

    def __init__(
        self, work: Work, *, grace: float = 0.2, redact: Any = str, **options: Any
    ) -> None:
        self.events: list[Event] = []
        self.recorder = CallbackRecorder("t", self.events.append)
        clock = Clock()
        given = RunOptions(
            registry=AgentRegistry(), clock=clock, limits=Limits(), cancel_grace_seconds=grace,
            task_timeout_seconds=None, redact=redact,
        )  # fmt: skip
        reporter = Reporter("a", 1, recorder=self.recorder, limits=Limits(), clock=clock)
        context = AgentContext(
            task=TaskInfo(task_id="t", title="", description=""), role="a", attempt=1, inputs={},
            outputs={}, restored=None, reporter=reporter,
        )  # fmt: skip
        registration = Registration(agent=WorkAgent("a", work), options=AgentOptions(**options))
        deadlines = Deadlines(asyncio.get_running_loop())
        self.attempt = Attempt(given, registration, context, reporter, self.recorder, deadlines)

    async def run(self, *, may_retry: bool = False) -> Outcome:
        outcome = await self.attempt.run(begun=False)
        if (end := self.attempt.end_event(outcome, may_retry=may_retry)) is not None:
            await self.recorder.end_attempt(end, outcome.output.output, last=False)
        return outcome

    async def stopped(self, reason: Stop, *, may_retry: bool = False) -> Outcome:
        """Start it, stop it once it has said something, and wait for its end."""
        running = asyncio.create_task(self.run(may_retry=may_retry))
        await eventually(lambda: len(self.events) >= 2)
        self.attempt.stop(reason)
        return await asyncio.wait_for(running, 10)

    @property
    def end(self) -> AgentFailed:
        """Its one end."""
        ends = [e for e in self.events if isinstance(e, AgentFailed | AgentComplete)]
        assert len(ends) == 1
        assert isinstance(ends[0], AgentFailed)
        return ends[0]


@pytest.mark.parametrize(
    ("reason", "may_retry", "status", "code", "will_retry"),
    [
        ("cancel", False, "cancelled", "cancelled", False),
        ("cancel", True, "cancelled", "cancelled", False),
        ("timeout", True, "timeout", "timeout", False),
        ("attempt_timeout", True, "timeout", "timeout", True),
        ("attempt_timeout", False, "timeout", "timeout", False),
        ("budget", True, "cancelled", "cancelled", False),
        ("hand_back", False, "cancelled", "interrupted", True),
        ("pause", False, "cancelled", "interrupted", True),
    ],
)
async def test_a_stopped_attempt_says_why_and_whether_it_is_tried_again(
    reason: Stop, may_retry: bool, status: str, code: str, will_retry: bool
) -> None:
    trial = Trial(hang, timeout_seconds=1000)
    outcome = await trial.stopped(reason, may_retry=may_retry)
    assert not outcome.delivered
    assert (trial.end.status, trial.end.code, trial.end.will_retry) == (status, code, will_retry)


@pytest.mark.parametrize("first", ["pause", "hand_back"])
@pytest.mark.parametrize(
    ("second", "status", "code", "will_retry"),
    [
        ("cancel", "cancelled", "cancelled", False),
        ("timeout", "timeout", "timeout", False),
        ("budget", "cancelled", "cancelled", False),
        ("attempt_timeout", "cancelled", "interrupted", True),
        ("pause", "cancelled", "interrupted", True),
    ],
)
async def test_the_end_of_a_task_beats_an_interruption(
    first: Stop, second: Stop, status: str, code: str, will_retry: bool
) -> None:
    trial = Trial(hang, timeout_seconds=1000)
    running = asyncio.create_task(trial.run(may_retry=True))
    await eventually(lambda: len(trial.events) >= 2)
    trial.attempt.stop(first)
    trial.attempt.stop(second)
    outcome = await asyncio.wait_for(running, 10)
    assert outcome.interrupted is will_retry
    assert (trial.end.status, trial.end.code, trial.end.will_retry) == (status, code, will_retry)


async def test_an_attempt_that_lost_its_log_stores_no_end() -> None:
    trial = Trial(hang)
    await trial.stopped("lost")
    assert [event.type for event in trial.events] == ["agent_start", "agent_progress"]


async def test_a_retry_is_not_promised_when_the_task_is_stopped_meanwhile() -> None:
    release = asyncio.Event()

    async def work(context: AgentContext) -> None:
        await swallow(release)(context)
        raise AgentError("late", retryable=True)

    trial = Trial(work, grace=10, timeout_seconds=0.02)
    running = asyncio.create_task(trial.run(may_retry=True))
    await eventually(lambda: trial.attempt._stop == "attempt_timeout")
    trial.attempt.stop("cancel")
    release.set()
    await asyncio.wait_for(running, 10)
    assert (trial.end.status, trial.end.will_retry) == ("timeout", False)


async def test_what_an_agent_raises_while_it_is_stopped_is_only_its_way_out() -> None:
    async def work(context: AgentContext) -> None:
        try:
            await hang(context)
        finally:
            raise ValueError("in the way")

    trial = Trial(work)
    await trial.stopped("cancel")
    assert (trial.end.status, trial.end.error) == ("cancelled", "The agent was cancelled.")


async def test_an_agent_that_delivers_while_it_is_stopped_has_delivered() -> None:
    async def work(context: AgentContext) -> AgentResult:
        try:
            await hang(context)
        except asyncio.CancelledError:
            return AgentResult(text="just in time")
        raise AssertionError

    trial = Trial(work)
    outcome = await trial.stopped("cancel")
    assert outcome.delivered
    assert outcome.output.text == "just in time"


async def test_cancel_comes_again_to_an_agent_that_swallowed_it() -> None:
    cancels = 0

    async def work(context: AgentContext) -> None:
        nonlocal cancels
        await context.progress("working")
        while cancels < 2:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                cancels += 1

    trial = Trial(work, grace=10 * CANCEL_AGAIN_SECONDS)
    outcome = await trial.stopped("cancel")
    assert outcome.delivered
    assert trial.attempt.straggler is None
    assert cancels == 2


async def test_a_stop_before_the_agent_ran_at_all_leaves_a_whole_attempt() -> None:
    ran = False

    async def work(context: AgentContext) -> None:
        nonlocal ran
        ran = True

    trial = Trial(work)
    trial.attempt.stop("cancel")
    await trial.run()
    assert not ran
    assert [event.type for event in trial.events] == ["agent_start", "agent_error"]


async def test_secrets_are_replaced_in_the_words_of_an_agent() -> None:
    async def work(context: AgentContext) -> None:
        raise AgentError("refused by https://x/?key=abc123" + "y" * 5000)

    trial = Trial(work, redact=lambda text: text.replace("abc123", "***"))
    await trial.run()
    assert "key=***" in trial.end.error
    assert len(trial.end.error) == 4000


async def test_what_the_log_refuses_stops_the_run_and_not_the_agent_alone() -> None:
    async def work(context: AgentContext) -> None:
        raise AppendRefused(None)

    with pytest.raises(AppendRefused):
        await Trial(work).run()


async def test_an_agent_that_is_stopped_before_its_first_step_ends_at_once() -> None:
    trial = Trial(hang, grace=30)
    trial.attempt.stop("cancel")
    loop = asyncio.get_running_loop()
    began = loop.time()
    outcome = await trial.run()
    assert outcome.status == "cancelled"
    assert loop.time() - began < CANCEL_AGAIN_SECONDS / 2


async def test_an_agent_that_somebody_else_cancels_before_its_first_step_ends() -> None:
    trial = Trial(hang)
    running = asyncio.create_task(trial.run())
    async with asyncio.timeout(10):
        while trial.attempt.agent_task is None:  # noqa: ASYNC110 - in this very turn
            await asyncio.sleep(0)
        trial.attempt.agent_task.cancel()
        assert (await running).code == "agent_failed"


async def test_whoever_looks_at_the_loop_sees_whose_agent_runs() -> None:
    names = list[str]()

    async def work(context: AgentContext) -> None:
        running = asyncio.current_task()
        assert running is not None
        names.append(running.get_name())

    await Trial(work).run()
    assert names == ["agent a of t"]  # this is what the watchdog tells


async def test_an_agent_that_ends_by_itself_has_one_start_and_one_end() -> None:
    trial = Trial(speak)
    outcome = await trial.run()
    assert outcome.delivered
    assert [event.type for event in trial.events] == [
        "agent_start", "agent_progress", "agent_complete",
    ]  # fmt: skip


def test_an_agent_cannot_change_what_others_are_given() -> None:
    output, task = AgentOutput(text="true"), TaskInfo(task_id="t", title="t", description="d")
    with pytest.raises(AttributeError):
        output.text = "forged"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        task.task_id = "forged"  # type: ignore[misc]
