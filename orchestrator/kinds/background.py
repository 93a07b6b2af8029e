"""`kind = "background"`: blocking code as an agent, in a thread of its own."""

from __future__ import annotations

import abc
import asyncio
import inspect
import threading
from collections.abc import Coroutine, Mapping
from typing import Any

from orchestrator.agents import AgentContext, AgentOutput, AgentResult, TaskInfo
from orchestrator.errors import AgentError, AttemptClosed
from orchestrator.kinds.threads import DaemonThreads as DaemonThreads
from orchestrator.kinds.waiting import finished


class ProgressHandle:
    """What a blocking task reports through. Every method may be called from any thread.

    Each call returns when the report is accepted and waits while the buffer is full, so a task
    cannot run away from its readers. Once the attempt has ended, each raises `AttemptClosed`.
    """

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._cancelled = threading.Event()
        self._closed = False

    @property
    def task(self) -> TaskInfo:
        """The task."""
        return self._context.task

    @property
    def attempt(self) -> int:
        """Number of the attempt, from 1."""
        return self._context.attempt

    @property
    def outputs(self) -> Mapping[str, AgentOutput]:
        """Outputs of the agents that finished before this one started, by role."""
        return self._context.outputs

    @property
    def cancelled(self) -> bool:
        """Whether the task should end as soon as it can."""
        return self._cancelled.is_set()

    def raise_if_cancelled(self) -> None:
        """Raise `asyncio.CancelledError` if the task should end; let it pass."""
        if self.cancelled:
            raise asyncio.CancelledError

    def send_progress_text(self, text: str) -> None:
        """Report a status line."""
        self._call(self._context.progress(text))

    def send_progress_value(self, value: float) -> None:
        """Report how far the work is, from 0 to 1."""
        self._call(self._context.progress(progress=value))

    def send_progress(
        self,
        *,
        done: int | None = None,
        total: int | None = None,
        failed: int | None = None,
        message: str | None = None,
    ) -> None:
        """Report items; see `AgentContext.progress`."""
        self._call(self._context.progress(message, done=done, total=total, failed=failed))

    def write(self, text: str) -> None:
        """Append to the output text."""
        self._call(self._context.write(text))

    def save_artifact(
        self, name: str, data: bytes | str, media_type: str = "application/octet-stream"
    ) -> None:
        """Store a file; see `AgentContext.save_artifact`."""
        self._call(self._context.save_artifact(name, data, media_type))

    def cancel(self) -> None:
        """Ask the task to end. Called by the attempt."""
        self._cancelled.set()

    def close(self) -> None:
        """From now on every report raises `AttemptClosed`. Called by the attempt."""
        self._closed = True

    def _call(self, report: Coroutine[Any, Any, object]) -> None:
        ended = AttemptClosed(f"attempt {self.attempt} of {self._context.role} has ended")
        if self._closed:
            report.close()
            raise ended
        try:
            accepted = asyncio.run_coroutine_threadsafe(report, self._loop)
        except RuntimeError:  # the loop is closed
            report.close()
            raise ended from None
        accepted.result()


class BackgroundTask(abc.ABC):
    """Work that blocks or computes. Derive from it and name the class in agents.toml.

    One object serves all attempts, also at the same time: keep the state of a call in the call.
    """

    @abc.abstractmethod
    def execute(self, progress_handle: ProgressHandle, *_: Any, **inputs: Any) -> dict[str, Any]:
        """Do the work, in a thread of its own.

        Look at `ProgressHandle.cancelled` often: a thread cannot be stopped from outside.

        Args:
            progress_handle: To report through.
            _: Never used; it lets a type checker accept methods that declare parameters.
            inputs: The inputs of the task; a method that declares parameters instead of
                ``**inputs`` gets those it declares.

        Returns:
            The JSON output.

        Raises:
            AgentError: To fail with a message and code of its own.
        """


class BackgroundAgent:
    """Runs a `BackgroundTask` as an agent.

    When it is cancelled it tells the task so and goes on waiting for its thread, since a thread
    that still works must not look as if it had stopped. Whoever cannot wait leaves the attempt
    behind and counts it.
    """

    def __init__(
        self,
        role: str,
        name: str,
        description: str,
        task: BackgroundTask,
        threads: DaemonThreads,
    ) -> None:
        self.role = role
        self.name = name
        self.description = description
        self._task = task
        self._threads = threads
        parameters = [*inspect.signature(task.execute).parameters.values()][1:]
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        named = [p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self._names = frozenset(p.name for p in named)
        self._required = [p.name for p in named if p.default is p.empty]
        self._handle_name = next(iter(inspect.signature(task.execute).parameters), "")

    async def run(self, context: AgentContext) -> AgentResult | None:
        """Run the task in a thread and wait until that has ended.

        Raises:
            AgentError: An input it needs is missing (`invalid_input`), or the task raised it.
        """
        inputs = self._inputs(context.inputs)
        if self._threads.full:
            await context.progress("Waiting for a free thread")
        handle = ProgressHandle(context)

        def execute() -> Any:
            return self._task.execute(handle, **inputs)

        call = await self._threads.start(execute, name=f"agent {context.role}")
        try:
            output = await finished(
                call, on_cancel=handle.cancel, is_forsaken=lambda: context.closed
            )
        finally:
            handle.close()
        if output is not None and not isinstance(output, dict):
            raise TypeError(f"execute of {self.role} returned {type(output).__name__}, not a dict")
        return AgentResult(output=output)

    def _inputs(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for name in self._required:
            if name not in inputs:
                raise AgentError(
                    f"The task does not say inputs.{name}, which this agent needs.",
                    code="invalid_input",
                )
        return {
            name: value
            for name, value in inputs.items()
            if name in self._names or (self._takes_all and name != self._handle_name)
        }
