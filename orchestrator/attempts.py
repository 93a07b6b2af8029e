"""One attempt of one agent: started, watched, stopped, closed.

The agent runs as an asyncio task of its own that nobody else awaits. So an agent that swallows
its cancellation, or blocks a thread for ever, can be left behind: after the grace period its
attempt is closed, its context is dead, and what still runs is counted as a straggler. A task
group could not be left before it, and would cancel it again in every turn of the loop.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from orchestrator.agents import AgentContext, AgentOutput, AgentResult, Registration
from orchestrator.clock import Clock
from orchestrator.errors import (
    AgentError,
    AppendRefused,
    AttemptClosed,
    CallbackFailed,
    PoststreamError,
)  # fmt: skip
from orchestrator.events import Draft, Usage, cleaned, to_json
from orchestrator.progress import Recorder, Reporter
from orchestrator.tasks import rounded_ms

logger = logging.getLogger(__name__)

Stop = Literal[
    "cancel", "timeout", "attempt_timeout", "budget", "stuck", "pause", "hand_back", "lost"
]
"""Why something that runs is stopped. ``timeout`` is the task's, ``attempt_timeout`` the agent's
own; ``stuck``: nothing was heard of the task; ``lost``: the log takes no more of it."""

INTERRUPTIONS: tuple[Stop, ...] = ("pause", "hand_back")
"""Stops after which an agent runs again, later or elsewhere."""

CANCEL_AGAIN_SECONDS = 1.0
"""Cancel is delivered again this often: code that swallowed it once may heed it later."""

MAX_OUTPUT_IN_EVENT = 64 * 1024
"""A larger JSON output stays out of the event and is read from the snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended."""

    status: Literal["success", "error", "timeout", "cancelled"]
    output: AgentOutput = field(default_factory=AgentOutput)
    usage: Usage | None = None
    error: str = ""
    code: str = ""
    retryable: bool = False
    interrupted: bool = False
    """Whether it was stopped to be run again: that is no failure."""

    @property
    def delivered(self) -> bool:
        """Whether the agent did what it was asked."""
        return self.status == "success"


class Attempt:
    """One execution of one agent.

    Args:
        registration: The agent.
        context: What it is given.
        reporter: The voice behind that context.
        recorder: Where start and end are stored.
        clock: For durations.
        grace_seconds: How long a stopped agent may take to end.
        redact: Replaces secrets in error texts.
    """

    def __init__(
        self,
        registration: Registration,
        context: AgentContext,
        reporter: Reporter,
        *,
        recorder: Recorder,
        clock: Clock,
        grace_seconds: float,
        redact: Callable[[str], str],
    ) -> None:
        self._registration = registration
        self._context = context
        self._reporter = reporter
        self._recorder = recorder
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._redact = redact
        self._stop: Stop | None = None
        self._final = False  # the task ends: nothing is tried again
        self._signal: asyncio.Future[None] | None = None
        self.agent_task: asyncio.Task[AgentResult | None] | None = None
        """The agent itself, once it runs."""

    @property
    def straggler(self) -> asyncio.Task[AgentResult | None] | None:
        """The agent, if it runs on although its attempt has ended."""
        return self.agent_task if self.agent_task and not self.agent_task.done() else None

    def stop(self, reason: Stop) -> None:
        """Ask the attempt to end.

        The first reason stands, but the end of the task beats an interruption, and `lost` all.
        """
        ends_task = reason not in ("attempt_timeout", *INTERRUPTIONS)
        self._final = self._final or ends_task
        beats = self._stop is None or (self._stop in INTERRUPTIONS and ends_task)
        if beats or reason == "lost":
            self._stop = reason
            self._wake()

    async def run(
        self, *, begun: bool, may_retry: bool, is_last: Callable[[Outcome], bool]
    ) -> Outcome:
        """Run the agent from `agent_start` to the stored end of the attempt.

        Args:
            begun: Whether `agent_start` is stored already.
            may_retry: Whether a retryable failure will be followed by another attempt.
            is_last: Whether the task ends with this outcome; both are stored together then.

        Raises:
            AppendRefused: The log takes nothing of this run any more; the agent was stopped.
            CallbackFailed: The caller's callback raised; the agent was stopped.
        """
        if not begun:
            await self._recorder.record(
                start_event(self._registration, self._context.attempt, self._clock.wall_ms())
            )
        started = self._clock.monotonic()
        self.agent_task = asyncio.create_task(
            _guarded(self._registration, self._context),
            name=f"agent {self._context.role} of {self._context.task.task_id}",
        )
        await self._watch(self.agent_task)
        try:
            outcome = await self._outcome(self.agent_task)
        finally:
            # Before the end is stored: what still runs of the agent must not report behind it.
            self._reporter.close()
        if self._stop != "lost":
            seconds = self._clock.monotonic() - started
            await self._store_end(outcome, seconds, may_retry, last=is_last(outcome))
        return outcome

    async def _watch(self, agent_task: asyncio.Task[Any]) -> None:
        """Wait until the agent has ended, or was stopped and its grace is over."""
        loop = asyncio.get_running_loop()
        agent_task.add_done_callback(lambda _: self._wake())
        timeout = self._registration.options.timeout_seconds
        timer = None if timeout is None else loop.call_later(timeout, self.stop, "attempt_timeout")
        try:
            while not agent_task.done() and self._stop is None:
                await self._sleep()
            left = self._grace_seconds
            deadline = self._clock.monotonic() + left
            while not agent_task.done():  # once at least, even without any grace
                agent_task.cancel()
                again = loop.call_later(min(left, CANCEL_AGAIN_SECONDS), self._wake)
                await self._sleep()
                again.cancel()
                left = deadline - self._clock.monotonic()
                if left <= 0:
                    break
        finally:
            if timer is not None:
                timer.cancel()

    async def _sleep(self) -> None:
        self._signal = asyncio.get_running_loop().create_future()
        await self._signal
        self._signal = None

    def _wake(self) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    async def _outcome(self, agent_task: asyncio.Task[AgentResult | None]) -> Outcome:
        if not agent_task.done():
            seconds = f"{self._grace_seconds:g} s"
            return self._failed(f"The agent did not stop within {seconds}.", "not_stopped")
        if agent_task.cancelled():
            if self._stop is None:
                return self._failed("The agent cancelled itself.", "agent_failed")
            return self._failed(*self._stop_words())
        error = agent_task.exception()
        if error is None:
            return await self._delivered(agent_task.result())
        if isinstance(error, AppendRefused | CallbackFailed):
            raise error
        if isinstance(error, AgentError):
            return self._failed(str(error), error.code, retryable=error.retryable)
        if self._stop is not None:  # what an agent raises while it is stopped is only its way out
            return self._failed(*self._stop_words())
        return self._failed(self._unexpected(error), "agent_failed")

    def _failed(self, error: str, code: str, *, retryable: bool = False) -> Outcome:
        status: Literal["error", "timeout", "cancelled"] = "error"
        if self._stop == "attempt_timeout":
            # While the first one runs on, a second one would work beside it.
            status, retryable = "timeout", code != "not_stopped"
        elif self._stop in ("timeout", "stuck"):
            status, retryable = "timeout", False
        elif self._stop is not None:
            status, retryable = "cancelled", False
        return Outcome(
            status=status,
            error=str(cleaned(self._redact(error)[:4000])),
            code=str(cleaned(code)),
            retryable=retryable,
            interrupted=self._stop in INTERRUPTIONS,
            output=AgentOutput(artifacts=tuple(self._reporter.artifacts.values())),
        )

    def _stop_words(self) -> tuple[str, str]:
        timeout = self._registration.options.timeout_seconds
        match self._stop:
            case "attempt_timeout":
                return f"The agent took longer than its timeout of {timeout:g} s.", "timeout"
            case "timeout":
                return "The agent was stopped because the task used up its active time.", "timeout"
            case "stuck":
                return "The agent was stopped because the task was silent for too long.", "timeout"
            case "budget":
                return "The agent was stopped because the task's budget is used up.", "cancelled"
            case "pause" | "hand_back":
                return "The agent was interrupted and will run again.", "interrupted"
            case _:
                return "The agent was cancelled.", "cancelled"

    def _unexpected(self, error: BaseException) -> str:
        reference = secrets.token_hex(4)
        logger.error(
            "agent raised %s, reference %s", type(error).__name__, reference, exc_info=error,
            extra={"task_id": self._context.task.task_id, "agent": self._context.role},
        )  # fmt: skip
        return f"{type(error).__name__} (details are in the server log under {reference})"

    async def _delivered(self, result: AgentResult | None) -> Outcome:
        result = AgentResult() if result is None else result
        if not isinstance(result, AgentResult):
            words = f"The agent returned {type(result).__name__} instead of an AgentResult."
            return self._failed(words, "agent_failed")
        try:
            if result.text and cleaned(result.text) != self._reporter.text:
                await self._reporter.write(result.text)
            if result.output is not None:
                self._reporter.check_output(result.output)
        except AgentError as error:  # too long
            return self._failed(str(error), error.code)
        except PoststreamError:
            raise
        except Exception as error:  # foreign objects: no text, or nothing that JSON could say
            return self._failed(self._unexpected(error), "agent_failed")
        return Outcome(
            status="success",
            usage=result.usage,
            output=AgentOutput(
                text=self._reporter.text,
                output=result.output,
                artifacts=tuple(self._reporter.artifacts.values()),
            ),
        )

    async def _store_end(
        self, outcome: Outcome, seconds: float, may_retry: bool, *, last: bool
    ) -> None:
        fields: dict[str, Any] = {
            "status": outcome.status, "executionTime": rounded_ms(seconds)
        }  # fmt: skip
        if outcome.delivered:
            draft = self._completion(outcome, fields)
        else:
            again = may_retry and outcome.retryable and not self._final
            will_retry = again or self._stop in INTERRUPTIONS
            fields |= {"error": outcome.error, "code": outcome.code, "willRetry": will_retry}
            draft = self._reporter.draft("agent_error", fields)
        await self._recorder.end_attempt(draft, outcome.output.output, last=last)

    def _completion(self, outcome: Outcome, fields: dict[str, Any]) -> Draft:
        artifacts = [a.model_dump(by_alias=True) for a in outcome.output.artifacts]
        fields |= {"hasArtifacts": bool(artifacts), "artifacts": artifacts}
        if outcome.output.output is not None:
            if len(to_json(outcome.output.output)) <= MAX_OUTPUT_IN_EVENT:
                fields["output"] = outcome.output.output
            else:
                fields["outputTruncated"] = True
        if outcome.usage is not None:
            fields["usage"] = outcome.usage.model_dump(by_alias=True)
        return self._reporter.draft("agent_complete", fields)


def start_event(registration: Registration, attempt: int, at_ms: int) -> Draft:
    """The first event of an attempt."""
    fields = {
        "agentRole": registration.agent.role,
        "attempt": attempt,
        "agentName": registration.agent.name,
        "agentDescription": registration.agent.description,
    }
    return Draft("agent_start", fields, at_ms)


async def _guarded(registration: Registration, context: AgentContext) -> AgentResult | None:
    try:
        return await registration.agent.run(context)
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio would end the whole server with it.
        raise AgentError(f"The agent called for an exit ({type(error).__name__}).") from error
    except AttemptClosed:
        raise asyncio.CancelledError from None
