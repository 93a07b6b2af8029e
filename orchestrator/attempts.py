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
from functools import partial
from typing import Any, Literal

from orchestrator.agents import Agent, AgentContext, AgentOutput, AgentResult, Registration
from orchestrator.deadlines import Deadlines
from orchestrator.errors import (
    AgentError,
    AppendRefused,
    AttemptClosed,
    CallbackFailed,
    PoststreamError,
)  # fmt: skip
from orchestrator.events import Draft, cleaned, to_json
from orchestrator.milestones import start_event
from orchestrator.options import RunOptions
from orchestrator.outcomes import INTERRUPTIONS, Outcome, Stop
from orchestrator.progress import Recorder, Reporter
from orchestrator.tasks import rounded_ms

logger = logging.getLogger(__name__)

CANCEL_AGAIN_SECONDS = 1.0
"""Cancel is delivered again this often: code that swallowed it once may heed it later."""

MAX_OUTPUT_IN_EVENT = 64 * 1024
"""A larger JSON output stays out of the event and is read from the snapshot."""


class Attempt:
    """One execution of one agent.

    Args:
        options: How agents are treated.
        registration: The agent.
        context: What it is given.
        reporter: The voice behind that context.
        recorder: Where the start is stored.
        deadlines: Where its timeout waits.
    """

    def __init__(
        self,
        options: RunOptions,
        registration: Registration,
        context: AgentContext,
        reporter: Reporter,
        recorder: Recorder,
        deadlines: Deadlines,
    ) -> None:
        self._options = options
        self._registration = registration
        self._context = context
        self.reporter = reporter
        """The voice behind that context."""
        self._recorder = recorder
        self._deadlines = deadlines
        self._loop = deadlines.loop
        self._stop: Stop | None = None
        self._final = False  # the task ends: nothing is tried again
        self._signal: asyncio.Future[None] | None = None
        self.agent_task: asyncio.Task[AgentResult | None] | None = None
        """The agent itself, once it runs."""
        self.seconds = 0.0
        """How long the agent took."""

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

    async def run(self, *, begun: bool) -> Outcome:
        """Run the agent to its end, or until its grace is over. From then on it reports nothing.

        Args:
            begun: Whether `agent_start` is stored already.

        Raises:
            AppendRefused: The log takes nothing of this run any more; the agent was stopped.
            CallbackFailed: The caller's callback raised; the agent was stopped.
        """
        context, clock = self._context, self._options.clock
        if not begun:
            start = start_event(self._registration, context.attempt, clock.wall_ms())
            await self._recorder.record(start)
        started = clock.monotonic()
        agent_task = self.agent_task = self._loop.create_task(
            _guarded(self._registration.agent, context),
            name=f"agent {context.role} of {context.task.task_id}",  # the watchdog tells it
        )
        agent_task.add_done_callback(self._wake)
        await self._watch(agent_task)
        try:
            if (failure := self._failure(agent_task)) is not None:
                return failure
            result = agent_task.result()
            if result is not None and (failure := await self._take(result)) is not None:
                return failure
            return self._success(result)
        finally:
            # Before the end is stored: what still runs of the agent must not report behind it.
            self.reporter.close()
            self.seconds = clock.monotonic() - started

    def end_event(self, outcome: Outcome, *, may_retry: bool) -> Draft | None:
        """The last event of the attempt; None when the log takes nothing of it any more.

        Args:
            outcome: How it ended.
            may_retry: Whether a retryable failure will be followed by another attempt.
        """
        if self._stop == "lost":
            return None
        took = rounded_ms(self.seconds)
        if outcome.delivered:
            return self.reporter.draft("agent_complete", _delivery(outcome, took))
        again = may_retry and outcome.retryable and not self._final
        fields = {
            "status": outcome.status,
            "executionTime": took,
            "error": outcome.error,
            "code": outcome.code,
            "willRetry": again or self._stop in INTERRUPTIONS,
        }
        return self.reporter.draft("agent_error", fields)

    async def _watch(self, agent_task: asyncio.Task[Any]) -> None:
        """Wait until the agent has ended, or was stopped and its grace is over."""
        timeout = self._registration.options.timeout_seconds
        deadline = None
        if timeout is not None:
            deadline = self._deadlines.after(timeout, partial(self.stop, "attempt_timeout"))
        try:
            while self._stop is None and not agent_task.done():
                await self._changed()
        finally:
            if deadline is not None:
                self._deadlines.cancel(deadline)
        if not agent_task.done():
            await self._end(agent_task)

    async def _end(self, agent_task: asyncio.Task[Any]) -> None:
        """Cancel the agent until it has ended, or its grace is over."""
        clock = self._options.clock
        left = self._options.cancel_grace_seconds
        deadline = clock.monotonic() + left
        while not agent_task.done():  # once at least, even without any grace
            agent_task.cancel()
            again = self._loop.call_later(min(left, CANCEL_AGAIN_SECONDS), self._wake)
            await self._changed()
            again.cancel()
            left = deadline - clock.monotonic()
            if left <= 0:
                break

    def _changed(self) -> asyncio.Future[None]:
        """Ends with the next `_wake`."""
        self._signal = self._loop.create_future()
        return self._signal

    def _wake(self, _: object = None) -> None:
        if self._signal is not None and not self._signal.done():
            self._signal.set_result(None)

    def _failure(self, agent_task: asyncio.Task[AgentResult | None]) -> Outcome | None:
        """How the agent failed; None when it has returned something."""
        if not agent_task.done():
            seconds = f"{self._options.cancel_grace_seconds:g} s"
            return self._failed(f"The agent did not stop within {seconds}.", "not_stopped")
        if agent_task.cancelled():
            if self._stop is None:
                return self._failed("The agent cancelled itself.", "agent_failed")
            return self._failed(*self._stop_words())
        error = agent_task.exception()
        if error is None:
            return None
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
            error=str(cleaned(self._options.redact(error)[:4000])),
            code=str(cleaned(code)),
            retryable=retryable,
            interrupted=self._stop in INTERRUPTIONS,
            output=AgentOutput(artifacts=tuple(self.reporter.artifacts.values())),
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

    async def _take(self, result: AgentResult) -> Outcome | None:
        """Report what a result says and was not reported yet; a failure if it cannot be taken."""
        if not isinstance(result, AgentResult):
            words = f"The agent returned {type(result).__name__} instead of an AgentResult."
            return self._failed(words, "agent_failed")
        try:
            if result.text and cleaned(result.text) != self.reporter.text:
                await self.reporter.write(result.text)
            if result.output is not None:
                self.reporter.check_output(result.output)
        except AgentError as error:  # too long
            return self._failed(str(error), error.code)
        except PoststreamError:
            raise
        except Exception as error:  # foreign objects: no text, or nothing that JSON could say
            return self._failed(self._unexpected(error), "agent_failed")
        return None

    def _success(self, result: AgentResult | None) -> Outcome:
        usage = output = None
        if result is not None:
            usage, output = result.usage, result.output
        text, artifacts = self.reporter.text, tuple(self.reporter.artifacts.values())
        return Outcome("success", AgentOutput(text, output, artifacts), usage)


def _delivery(outcome: Outcome, execution_ms: int) -> dict[str, Any]:
    output = outcome.output
    fields: dict[str, Any] = {
        "status": outcome.status,
        "executionTime": execution_ms,
        "hasArtifacts": bool(output.artifacts),
        "artifacts": [a.model_dump(by_alias=True) for a in output.artifacts],
    }
    if output.output is not None:
        if len(to_json(output.output)) <= MAX_OUTPUT_IN_EVENT:
            fields["output"] = output.output
        else:
            fields["outputTruncated"] = True
    if outcome.usage is not None:
        fields["usage"] = outcome.usage.model_dump(by_alias=True)
    return fields


async def _guarded(agent: Agent, context: AgentContext) -> AgentResult | None:
    try:
        return await agent.run(context)
    except (SystemExit, KeyboardInterrupt) as error:
        # asyncio would end the whole server with it.
        raise AgentError(f"The agent called for an exit ({type(error).__name__}).") from error
    except AttemptClosed:
        raise asyncio.CancelledError from None
