"""Runs: one pass over a task's agents, from a claim until nothing of it is under way any more.

A run knows neither database nor server. Events go to a `Recorder`; whoever made the run ends the
task with the result.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from orchestrator.agents import AgentContext, AgentOutput, AgentRegistry, TaskInfo
from orchestrator.attempts import INTERRUPTIONS, Attempt, Outcome, Stop, start_event
from orchestrator.clock import Clock
from orchestrator.events import Draft, Usage
from orchestrator.observers import NOBODY, RunObserver
from orchestrator.plans import Plan
from orchestrator.progress import Limits, Recorder, Reporter
from orchestrator.tasks import TaskRequest, TaskStatus

MAX_RETRY_DELAY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """The agents and how to treat them; the same for every run of a process."""

    registry: AgentRegistry
    clock: Clock
    limits: Limits
    cancel_grace_seconds: float
    """How long a stopped agent may take to end."""
    task_timeout_seconds: float | None
    """Active time of a task that names none; None for no limit."""
    redact: Callable[[str], str]
    """Replaces secrets in error texts."""
    observer: RunObserver = NOBODY
    """Hears of every attempt."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """What earlier runs of the same task have left."""

    outputs: dict[str, AgentOutput] = field(default_factory=dict)
    """Agents that delivered; they never run again."""
    failed: dict[str, Outcome] = field(default_factory=dict)
    """Agents that failed for good; they run again only by a retry of the task."""
    attempts: dict[str, int] = field(default_factory=dict)
    """Attempts begun so far."""
    failures: dict[str, int] = field(default_factory=dict)
    """Attempts that failed since the submit or the last retry of the task; `max_attempts` counts
    them. One that was interrupted is none."""
    checkpoints: dict[str, Any] = field(default_factory=dict)
    """What agents want back."""
    begun: set[str] = field(default_factory=set)
    """Agents whose next attempt is opened already, by the transaction that claimed the task."""
    active_seconds: float = 0.0
    """Time the task has been active since the submit or the last retry."""
    usage: Usage | None = None
    """What all attempts consumed."""
    spent: Usage | None = None
    """What those since the submit or the last retry consumed, which the budget counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunResult:
    """How a run ended."""

    status: TaskStatus
    """An end state; `queued` or `paused` when the run was stopped to be continued later."""
    outputs: Mapping[str, AgentOutput]
    failed: Mapping[str, Outcome]
    """Last outcome of the agents that did not deliver."""
    code: str = ""
    error: str = ""
    usage: Usage | None = None
    not_stopped: tuple[str, ...] = ()
    """Agents that run on although they were told to stop."""


class TaskRun:
    """One run: from a claim until nothing of it is under way any more.

    Args:
        options: The agents and how to treat them.
        task: The task.
        request: What was asked for.
        recorder: Where events go.
        earlier: What earlier runs have left.
    """

    def __init__(
        self,
        options: RunOptions,
        task: TaskInfo,
        request: TaskRequest,
        recorder: Recorder,
        earlier: Progress | None = None,
    ) -> None:
        self._options = options
        self._task = task
        self._request = request
        self._recorder = recorder
        self._plan = Plan.of(request)
        self._earlier = earlier or Progress()
        self._ended: dict[str, Outcome] = {
            role: Outcome(status="success", output=output)
            for role, output in self._earlier.outputs.items()
        }
        self._ended |= self._earlier.failed
        self._delivered = {role: outcome.delivered for role, outcome in self._ended.items()}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._attempts: dict[str, Attempt] = {}
        self._began: float | None = None
        self._held = False
        self._stop: Stop | None = None
        self._broken: Exception | None = None
        self._signal: asyncio.Future[None] | None = None
        self._stopped = asyncio.Event()
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
        self._stopped.set()
        for attempt in self._attempts.values():
            attempt.stop(reason)
        self._wake()

    def hold(self) -> None:
        """Start nothing more; what runs goes on to its end, and `drive` returns then."""
        self._held = True
        self._stopped.set()
        self._wake()

    def go_on(self) -> None:
        """Take `hold`, and a stop for a pause, back. Agents that were stopped start again."""
        self._held = False
        if self._stop == "pause":
            self._stop = None
        if self._stop is None:
            self._stopped.clear()
        self._wake()

    async def drive(self) -> RunResult:
        """Run the agents to the end, or until there is nothing to do after `stop` or `hold`.

        May be called again after `go_on`.

        Raises:
            AppendRefused: The log takes nothing of this run any more; its agents were stopped.
            CallbackFailed: The caller's callback raised; its agents were stopped.
        """
        timers = self._arm()
        self._check_budget()
        try:
            while True:
                ready = self._ready()
                if len(ready) == 1 and not self._running:  # nothing else can happen meanwhile
                    await self._run_role(ready[0])
                    continue
                for role in ready:
                    self._start(role)
                if not self._running:
                    break
                await self._sleep()
        finally:
            for timer in timers:
                timer.cancel()
        if self._broken is not None:
            raise self._broken
        return self._result()

    def _arm(self) -> list[asyncio.TimerHandle]:
        loop = asyncio.get_running_loop()
        timeout = self._request.timeout_seconds or self._options.task_timeout_seconds
        budget = self._request.budget.seconds if self._request.budget else None
        limits: list[tuple[float | None, Stop]] = [(timeout, "timeout"), (budget, "budget")]
        now = self._options.clock.monotonic()
        self._began = now if self._began is None else self._began
        used = self._earlier.active_seconds + now - self._began
        return [
            loop.call_later(max(0.0, seconds - used), self.stop, reason)
            for seconds, reason in limits
            if seconds is not None
        ]

    def _ready(self) -> list[str]:
        if self._broken is not None:
            return []
        if self._stop is not None or self._held:  # what the claim has begun must have an end
            return [role for role in self._earlier.begun if role not in self._running]
        return self._plan.ready(self._delivered, self._running)

    def _start(self, role: str) -> None:
        running = asyncio.create_task(self._run_role(role))
        self._running[role] = running
        running.add_done_callback(lambda _: self._wake())

    def _is_last(self, role: str, outcome: Outcome) -> bool:
        """Whether nothing more is started or runs once this outcome of a role stands."""
        if self._running and self._running.keys() - {role}:
            return False
        if self._stop is not None or len(self._ended) + 1 == len(self._plan.roles):
            return True
        return not self._plan.ready(self._delivered | {role: outcome.delivered}, ())

    async def _run_role(self, role: str) -> None:
        try:
            if (self._stop is not None or self._held) and role not in self._earlier.begun:
                return  # it came between the decision and this first step
            outcome = await self._try_role(role)
            if outcome is not None:
                self._ended[role] = outcome
                self._delivered[role] = outcome.delivered
                self._spend(outcome.usage)
        except Exception as error:  # whatever it is, `drive` raises it; nothing is started again
            self._broken = self._broken or error
            self.stop("lost")
        finally:
            self._running.pop(role, None)

    async def _try_role(self, role: str) -> Outcome | None:
        """Try an agent as often as it may; None when it is to be tried again later."""
        options = self._options.registry[role].options
        failures = self._earlier.failures
        while True:
            may_retry = failures.get(role, 0) + 1 < options.max_attempts
            outcome = await self._attempt(role, may_retry=may_retry)
            if outcome.interrupted:
                return None
            if not (outcome.retryable and may_retry):
                return outcome
            failures[role] = failures.get(role, 0) + 1
            if self._stop is None and not self._held:
                doubled = options.retry_delay_seconds * 2 ** min(failures[role] - 1, 30)
                delay = min(doubled, MAX_RETRY_DELAY_SECONDS)
                await self._delay(delay * self._options.clock.entropy.uniform(0.5, 1.0))
            if self._stop is not None or self._held:
                later = self._stop is None or self._stop in INTERRUPTIONS
                return None if later else outcome

    async def _attempt(self, role: str, *, may_retry: bool) -> Outcome:
        options = self._options
        number = self._earlier.attempts.get(role, 0) + 1
        self._earlier.attempts[role] = number
        begun = role in self._earlier.begun
        self._earlier.begun.discard(role)
        reporter = Reporter(
            role, number,
            recorder=self._recorder, limits=options.limits, clock=options.clock,
        )  # fmt: skip
        context = AgentContext(
            task=self._task,
            role=role,
            attempt=number,
            inputs=self._request.inputs or {},
            outputs={r: o.output for r, o in self._ended.items() if o.delivered},
            restored=self._earlier.checkpoints.get(role),
            reporter=reporter,
        )
        attempt = Attempt(
            options.registry[role], context, reporter,
            recorder=self._recorder, clock=options.clock,
            grace_seconds=options.cancel_grace_seconds, redact=options.redact,
        )  # fmt: skip
        self._attempts[role] = attempt
        if self._stop is not None:
            attempt.stop(self._stop)
        began = options.clock.monotonic()
        options.observer.attempt_began(self._task, role, number)
        try:
            outcome = await attempt.run(
                begun=begun,
                may_retry=may_retry,
                is_last=lambda outcome: (
                    not (outcome.retryable and may_retry) and self._is_last(role, outcome)
                ),
            )
            seconds = options.clock.monotonic() - began
            options.observer.attempt_ended(self._task, role, number, outcome, seconds)
            return outcome
        finally:
            del self._attempts[role]
            if reporter.checkpointed is not None:
                self._earlier.checkpoints[role] = orjson.loads(reporter.checkpointed)
            if attempt.straggler is not None:
                self.stragglers.append((role, attempt.straggler))

    async def _delay(self, seconds: float) -> None:
        """Sleep, but no longer than until a stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopped.wait()

    def _spend(self, usage: Usage | None) -> None:
        if usage is not None:
            earlier = self._earlier
            earlier.usage = add_usage(earlier.usage or Usage(), usage)
            earlier.spent = add_usage(earlier.spent or Usage(), usage)
            self._check_budget()

    def _check_budget(self) -> None:
        budget, spent = self._request.budget, self._earlier.spent
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

    def _wake(self) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def _result(self) -> RunResult:
        failed = {
            role: self._ended[role]
            for role in self._plan.roles
            if role in self._ended and not self._ended[role].delivered
        }
        status, code, error = self._verdict(failed)
        return RunResult(
            status=status,
            outputs={r: o.output for r, o in self._ended.items() if o.delivered},
            failed=failed,
            code=code,
            error=error,
            usage=self._earlier.usage,
            not_stopped=self._not_stopped(),
        )

    def _verdict(self, failed: Mapping[str, Outcome]) -> tuple[TaskStatus, str, str]:
        delivered = len(self._ended) - len(failed)
        later = self._stop in INTERRUPTIONS or (self._stop is None and self._held)
        if later and self._plan.ready({r: o.delivered for r, o in self._ended.items()}, ()):
            return (TaskStatus.QUEUED if self._stop == "hand_back" else TaskStatus.PAUSED), "", ""
        if self._stop is not None and not later and delivered < len(self._plan.roles):
            return self._stop_verdict()
        words = "; ".join(f"{role}: {outcome.error}" for role, outcome in failed.items())
        if failed and self._plan.stops_on_error and len(failed) < len(self._plan.roles):
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
            outputs={r: o.output for r, o in self._ended.items() if o.delivered},
            failed={r: o for r, o in self._ended.items() if not o.delivered},
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
        task_id=task_id,
        title=request.shown_title,
        description=request.description,
        provider=request.provider,
        metadata=request.metadata or {},
    )


def created_event(registry: AgentRegistry, request: TaskRequest, at_ms: int) -> Draft:
    """The first event of a task."""
    fields = {
        "title": request.shown_title,
        "selectedAgents": request.selected_agents,
        "executionMode": request.mode,
        "agents": registry.team(request.selected_agents).infos,
    }
    return Draft("task_created", fields, at_ms)


def first_starts(registry: AgentRegistry, request: TaskRequest, at_ms: int) -> list[Draft]:
    """`agent_start` of the agents a new task begins with."""
    roles = Plan.of(request).ready({}, ())
    return [start_event(registry[role], 1, at_ms) for role in roles]


def terminal_event(result: RunResult, active_ms: int, at_ms: int) -> Draft:
    """The last event of a task whose run ended with this result."""
    if result.status == TaskStatus.COMPLETED:
        fields: dict[str, Any] = {
            "totalExecutionTime": active_ms,
            "outputs": len(result.outputs),
            "failedAgents": list(result.failed),
        }
        if result.usage is not None:
            fields["usage"] = result.usage.model_dump(by_alias=True)
        return Draft("task_complete", fields, at_ms)
    fields = {
        "status": result.status.value,
        "error": result.error,
        "code": result.code,
        "totalExecutionTime": active_ms,
    }
    if result.not_stopped:
        fields["notStopped"] = list(result.not_stopped)
    return Draft("task_error", fields, at_ms)
