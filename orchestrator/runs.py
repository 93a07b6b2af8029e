"""Runs: one pass over a task's agents, from a claim until nothing of it is under way any more.

A run knows neither database nor server. Events go to a `Recorder`; whoever made the run ends the
task with the result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import orjson

from orchestrator.agents import AgentContext, AgentOutput, TaskInfo
from orchestrator.attempts import Attempt
from orchestrator.deadlines import Deadlines
from orchestrator.events import Usage
from orchestrator.options import RunOptions
from orchestrator.outcomes import INTERRUPTIONS, Outcome, RunResult, Stop
from orchestrator.progress import Recorder, Reporter
from orchestrator.tasks import TaskRequest, TaskStatus

MAX_RETRY_DELAY_SECONDS = 60.0


class Progress:
    """How far a task has come: what earlier runs have left, and this one goes on with.

    Args:
        begun: See the attribute.
    """

    def __init__(self, begun: Iterable[str] = ()) -> None:
        self.outputs: dict[str, AgentOutput] = {}
        """Agents that delivered; they never run again."""
        self.failed: dict[str, Outcome] = {}
        """Agents that failed for good; they run again only by a retry of the task."""
        self.attempts: dict[str, int] = {}
        """Attempts begun so far."""
        self.failures: dict[str, int] = {}
        """Attempts that failed since the submit or the last retry of the task; `max_attempts`
        counts them. One that was interrupted is none."""
        self.checkpoints: dict[str, Any] = {}
        """What agents want back."""
        self.begun = set(begun)
        """Agents whose next attempt is opened already, by the transaction that claimed the task."""
        self.active_seconds = 0.0
        """Time the task has been active since the submit or the last retry."""
        self.usage: Usage | None = None
        """What all attempts consumed."""
        self.spent: Usage | None = None
        """What those since the submit or the last retry consumed, which the budget counts."""


class TaskRun:
    """One run: from a claim until nothing of it is under way any more.

    Args:
        options: The agents and how to treat them.
        task: The task.
        request: What was asked for.
        recorder: Where events go.
        deadlines: Where its timeout waits.
        progress: How far the task has come; goes on with the run.
    """

    def __init__(
        self,
        options: RunOptions,
        task: TaskInfo,
        request: TaskRequest,
        recorder: Recorder,
        deadlines: Deadlines,
        progress: Progress | None = None,
    ) -> None:
        self._options = options
        self._task = task
        self._request = request
        self._recorder = recorder
        self._deadlines = deadlines
        self._plan = request.plan
        self._progress = progress or Progress()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, Attempt] = {}
        self._began: float | None = None
        self._held = False
        self._stop: Stop | None = None
        self._broken: Exception | None = None
        self._signal: asyncio.Future[None] | None = None
        self._delays_end: asyncio.Future[None] | None = None  # of agents that are tried again
        self.stragglers: list[tuple[str, asyncio.Task[Any]]] = []
        """Agents that ran on after their attempt was closed, with their roles."""

    @property
    def agents(self) -> list[str]:
        """The agents that run now."""
        return list(self._attempts)

    def stop(self, reason: Stop) -> None:
        """Stop what runs and start nothing more; `drive` returns within the grace period.

        The first reason stands, but one that ends the task beats an interruption, the end of the
        process a pause, and `lost` all.
        """
        interrupted = self._stop in INTERRUPTIONS and reason != "pause"
        if self._stop is None or interrupted or reason == "lost":
            self._stop = reason
        self._end_delays()
        for attempt in self._attempts.values():
            attempt.stop(reason)
        self._wake()

    def hold(self) -> None:
        """Start nothing more; what runs goes on to its end, and `drive` returns then."""
        self._held = True
        self._end_delays()
        self._wake()

    def go_on(self) -> None:
        """Take `hold`, and a stop for a pause, back. Agents that were stopped start again."""
        self._held = False
        if self._stop == "pause":
            self._stop = None
        self._wake()

    async def drive(self) -> RunResult:
        """Run the agents to the end, or until there is nothing to do after `stop` or `hold`.

        May be called again after `go_on`.

        Raises:
            AppendRefused: The log takes nothing of this run any more; its agents were stopped.
            CallbackFailed: The caller's callback raised; its agents were stopped.
        """
        armed = self._arm()
        self._check_budget()
        try:
            while (ready := self._ready()) or self._running:
                if len(ready) == 1 and not self._running:  # nothing else can happen meanwhile
                    await self._run_role(ready[0])
                    continue
                for role in ready:
                    self._start(role)
                await self._sleep()
        finally:
            for deadline in armed:
                self._deadlines.cancel(deadline)
        if self._broken is not None:
            raise self._broken
        return self._result()

    def _arm(self) -> list[int]:
        now = self._options.clock.monotonic()
        if self._began is None:
            self._began = now
        used = self._progress.active_seconds + now - self._began
        timeout = self._request.timeout_seconds or self._options.task_timeout_seconds
        armed = []
        if timeout is not None:
            armed.append(self._deadlines.after(timeout - used, partial(self.stop, "timeout")))
        budget = self._request.budget
        if budget is not None and budget.seconds is not None:
            armed.append(self._deadlines.after(budget.seconds - used, partial(self.stop, "budget")))
        return armed

    @property
    def _starts_nothing(self) -> bool:
        return self._stop is not None or self._held

    def _ready(self) -> list[str]:
        if self._broken is not None:
            return []
        progress = self._progress
        if self._starts_nothing:  # what the claim has begun must have an end
            return [role for role in progress.begun if role not in self._running]
        return self._plan.ready(progress.outputs, progress.failed, self._running)

    def _start(self, role: str) -> None:
        running = asyncio.create_task(self._run_role(role))
        self._running[role] = running
        running.add_done_callback(self._wake)

    async def _run_role(self, role: str) -> None:
        """Try an agent as often as it may."""
        progress = self._progress
        try:
            options = self._options.registry[role].options
            # Asked here too: a stop may come between the decision and this first step.
            while role in progress.begun or not self._starts_nothing:
                failures = progress.failures.get(role, 0)
                may_retry = failures + 1 < options.max_attempts
                outcome = await self._attempt(role, may_retry=may_retry)
                if outcome.interrupted:
                    return
                again = outcome.retryable and may_retry
                if again:
                    progress.failures[role] = failures + 1
                    await self._delay(options.retry_delay_seconds, failures)
                    again = self._stop is None or self._stop in INTERRUPTIONS
                if not again:
                    self._settle(role, outcome)
                    return
        except Exception as error:  # whatever it is, `drive` raises it; nothing is started again
            self._broken = self._broken or error
            self.stop("lost")
        finally:
            self._running.pop(role, None)

    async def _attempt(self, role: str, *, may_retry: bool) -> Outcome:
        """One attempt of an agent, until its end is stored."""
        progress, observers = self._progress, self._options.observers
        number = progress.attempts[role] = progress.attempts.get(role, 0) + 1
        begun = role in progress.begun
        progress.begun.discard(role)
        attempt = self._attempts[role] = self._new_attempt(role, number)
        if self._stop is not None:
            attempt.stop(self._stop)
        for observer in observers:
            observer.attempt_began(self._task, role, number)
        try:
            outcome = await attempt.run(begun=begun)
            if (end := attempt.end_event(outcome, may_retry=may_retry)) is not None:
                last = not (outcome.retryable and may_retry) and self._is_last(role, outcome)
                await self._recorder.end_attempt(end, outcome.output.output, last=last)
            for observer in observers:
                observer.attempt_ended(self._task, role, number, outcome, attempt.seconds)
            return outcome
        finally:
            del self._attempts[role]
            if (state := attempt.reporter.checkpointed) is not None:
                progress.checkpoints[role] = orjson.loads(state)
            if attempt.straggler is not None:
                self.stragglers.append((role, attempt.straggler))

    def _new_attempt(self, role: str, number: int) -> Attempt:
        options, progress = self._options, self._progress
        reporter = Reporter(role, number, self._recorder, options.limits, options.clock)
        context = AgentContext(
            self._task, role, number, self._request.inputs or {}, dict(progress.outputs),
            progress.checkpoints.get(role), reporter,
        )  # fmt: skip
        return Attempt(
            options, options.registry[role], context, reporter, self._recorder, self._deadlines
        )

    def _is_last(self, role: str, outcome: Outcome) -> bool:
        """Whether nothing more is started or runs once this outcome of a role stands."""
        if self._running and self._running.keys() - {role}:
            return False
        delivered, failed = self._progress.outputs, self._progress.failed
        if self._stop is not None or len(delivered) + len(failed) + 1 == len(self._plan.roles):
            return True
        if outcome.delivered:
            return not self._plan.ready(delivered.keys() | {role}, failed, ())
        return not self._plan.ready(delivered, failed.keys() | {role}, ())

    def _settle(self, role: str, outcome: Outcome) -> None:
        if outcome.delivered:
            self._progress.outputs[role] = outcome.output
        else:
            self._progress.failed[role] = outcome
        if outcome.usage is not None:
            self._spend(outcome.usage)

    async def _delay(self, seconds: float, failures: int) -> None:
        """Wait before another attempt, but no longer than until a stop.

        Args:
            seconds: How long after the first failure; doubled with each before this one.
            failures: How many there were before this one.
        """
        delay = min(seconds * 2 ** min(failures, 30), MAX_RETRY_DELAY_SECONDS)
        if not self._starts_nothing:
            if self._delays_end is None:
                self._delays_end = asyncio.get_running_loop().create_future()
            jitter = self._options.clock.entropy.uniform(0.5, 1.0)
            await asyncio.wait([self._delays_end], timeout=delay * jitter)

    def _end_delays(self) -> None:
        """Let agents that wait for another attempt see that there is none now."""
        if self._delays_end is not None:
            self._delays_end.set_result(None)
            self._delays_end = None

    def _spend(self, usage: Usage) -> None:
        progress = self._progress
        progress.usage = add_usage(progress.usage or Usage(), usage)
        progress.spent = add_usage(progress.spent or Usage(), usage)
        self._check_budget()

    def _check_budget(self) -> None:
        budget, spent = self._request.budget, self._progress.spent
        if budget is None or spent is None:
            return
        tokens = spent.input_tokens + spent.output_tokens
        if (budget.tokens is not None and tokens >= budget.tokens) or (
            budget.cost_usd is not None and spent.cost_usd >= budget.cost_usd
        ):
            self.stop("budget")

    async def _sleep(self) -> None:
        self._signal = asyncio.get_running_loop().create_future()
        await self._signal
        self._signal = None

    def _wake(self, _: object = None) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def _result(self) -> RunResult:
        progress, failed = self._progress, self._failed()
        status, code, error = self._verdict(failed)
        not_stopped = self._not_stopped() if self.stragglers else ()
        return RunResult(status, progress.outputs, failed, code, error, progress.usage, not_stopped)

    def _failed(self) -> dict[str, Outcome]:
        """What failed, in the order in which the agents were selected."""
        failed = self._progress.failed
        return {role: failed[role] for role in self._plan.roles if role in failed} if failed else {}

    def _verdict(self, failed: Mapping[str, Outcome]) -> tuple[TaskStatus, str, str]:
        delivered, roles = len(self._progress.outputs), self._plan.roles
        if delivered == len(roles):
            return TaskStatus.COMPLETED, "", ""
        later = self._stop in INTERRUPTIONS or (self._stop is None and self._held)
        if later and self._plan.ready(self._progress.outputs, failed, ()):
            return (TaskStatus.QUEUED if self._stop == "hand_back" else TaskStatus.PAUSED), "", ""
        if self._stop is not None and not later:
            return self._stop_verdict()
        words = "; ".join(f"{role}: {outcome.error}" for role, outcome in failed.items())
        if failed and self._plan.stops_on_error and len(failed) < len(roles):
            return TaskStatus.FAILED, "agent_failed", f"Stopped because {words}"[:4000]
        if delivered == 0:
            return TaskStatus.FAILED, "all_agents_failed", f"No agent delivered. {words}"[:4000]
        return TaskStatus.COMPLETED, "", ""

    def _stop_verdict(self) -> tuple[TaskStatus, str, str]:
        match self._stop:
            case "timeout":
                return TaskStatus.TIMED_OUT, "timeout", "The task used up its active time."
            case "stuck":
                return TaskStatus.FAILED, "timeout", "The task was silent for too long."
            case "budget":
                return TaskStatus.FAILED, "budget_exhausted", "The task used up its budget."
            case _:
                return TaskStatus.CANCELLED, "cancelled", "The task was cancelled."

    def broken_result(
        self, code: str = "callback_failed", error: str = "The progress callback raised."
    ) -> RunResult:
        """The result of a run that `drive` could not bring to an end."""
        return RunResult(
            status=TaskStatus.FAILED,
            outputs=self._progress.outputs,
            failed=self._progress.failed,
            code=code,
            error=error,
            not_stopped=self._not_stopped(),
        )

    def _not_stopped(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(role for role, task in self.stragglers if not task.done()))


def add_usage(first: Usage, second: Usage) -> Usage:
    """The sum of both."""
    return Usage(
        input_tokens=first.input_tokens + second.input_tokens,
        output_tokens=first.output_tokens + second.output_tokens,
        cost_usd=first.cost_usd + second.cost_usd,
    )


def task_info(task_id: str, request: TaskRequest) -> TaskInfo:
    """What agents learn about their task."""
    return TaskInfo(
        task_id, request.shown_title, request.description, request.provider, request.metadata or {}
    )
