"""The narrator: puts what the worker does into lines of its log.

Each run has a slot, numbered from 1, for as long as it lasts; lines about it carry that number as
their thread. Lines of the loop itself have thread 0.
"""

from __future__ import annotations

import asyncio
import heapq
from dataclasses import dataclass
from typing import Literal

from orchestrator.agents import TaskInfo
from orchestrator.clock import Clock
from orchestrator.observers import RunObserver
from orchestrator.outcomes import Outcome
from orchestrator.runtime.alerts import Alert, Tell, tell_nobody
from orchestrator.runtime.runner_log import LineType, RunnerLog, TaskName
from orchestrator.store.recovery import Lost
from orchestrator.tasks import TaskRequest, TaskStatus

IDLE_SECONDS = 1.0  # without a task for so long the loop says that it waits

_ENDS: dict[str, LineType] = {
    TaskStatus.COMPLETED: "success",
    TaskStatus.FAILED: "error",
    TaskStatus.TIMED_OUT: "error",
}
_FAILURES = frozenset({TaskStatus.FAILED, TaskStatus.TIMED_OUT})


@dataclass(slots=True)
class Slot:
    """A place in which one task runs."""

    number: int
    task: TaskName
    began: float


class Narrator:
    """Tells what the worker does.

    Args:
        log: Where it tells it.
        clock: For durations.
        slots: How many tasks run at once.
        alert: Told of what somebody should look at.
    """

    def __init__(
        self, log: RunnerLog, clock: Clock, *, slots: int, alert: Tell = tell_nobody
    ) -> None:
        self._log = log
        self._alert = alert
        self._clock = clock
        self._free = list(range(1, slots + 1))
        self._slots: dict[str, Slot] = {}
        self._idle = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._last_end = 0.0

    def run_began(self, task: TaskInfo, owner: str, request: TaskRequest, *, waiting: int) -> None:
        """A run has its slot and begins.

        Args:
            task: Its task.
            owner: Whose it is.
            request: What was asked for.
            waiting: How many tasks wait behind it.
        """
        if self._idle:
            self._idle = False
            self._log.add(0, "info", "Found %s.", (_counted(waiting + 1),))
        # A run of this task that was lost may not have come to its end yet.
        if (lost := self._slots.pop(task.task_id, None)) is not None and lost.number:
            heapq.heappush(self._free, lost.number)
        number = heapq.heappop(self._free) if self._free else 0
        name = TaskName(task.task_id, task.title, owner)
        self._slots[task.task_id] = Slot(number, name, self._clock.monotonic())
        values = (", ".join(request.selected_agents), request.mode)
        self._log.add(number, "info", "started: %s (%s)", values, name)

    def run_ended(self, task_id: str, status: str, *, why: str = "") -> None:
        """A run has ended, and with it the task, or it was handed back.

        Args:
            task_id: Its task.
            status: The status the task has now.
            why: Why the run was lost, if it was.
        """
        slot = self._slots.pop(task_id, None)
        if slot is None:  # it did not come so far as to begin
            return
        now = self._clock.monotonic()
        seconds = now - slot.began
        if status in _FAILURES:
            self._tell("failed", slot.task, self._clock.wall_ms())
        if why:
            words = f"lost after {seconds:.1f} s: {why}"
            self._log.add(slot.number, "error", "%s", (words,), slot.task)
        else:
            type, words = _ENDS.get(status, "warning"), "finished: %s after %.1f s"
            self._log.add(slot.number, type, words, (status, seconds), slot.task)
        if slot.number:
            heapq.heappush(self._free, slot.number)
        self._last_end = now
        if not self._slots:
            self._expect_idleness()

    def attempt_began(self, task: TaskInfo, role: str, attempt: int) -> None:
        """An agent starts."""
        slot = self._slots.get(task.task_id)
        if slot is None:
            return
        if attempt == 1:
            self._log.add(slot.number, "info", "agent %s started", (role,), slot.task)
        else:
            words = "agent %s started, attempt %s"
            self._log.add(slot.number, "info", words, (role, attempt), slot.task)

    def attempt_ended(
        self, task: TaskInfo, role: str, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """An agent has ended."""
        slot = self._slots.get(task.task_id)
        if slot is None:
            return
        if outcome.delivered:
            words = "agent %s finished after %.1f s"
            self._log.add(slot.number, "success", words, (role, seconds), slot.task)
        else:
            type: LineType = "warning" if outcome.status == "cancelled" else "error"
            words = "agent %s ended after %.1f s: %s"
            self._log.add(slot.number, type, words, (role, seconds, outcome.error), slot.task)

    def recovered(self, lost: Lost, status: str) -> None:
        """A task that a dead process left was taken over."""
        task = TaskName(lost.task_id, lost.title, lost.owner)
        words = "recovered: it was %s when the server ended, and is %s now"
        self._log.add(0, "warning", words, (lost.status, status), task)
        failed = status in _FAILURES
        if failed or status == TaskStatus.QUEUED:
            self._tell("failed" if failed else "recovered", task, lost.updated)

    def stuck(
        self, task_id: str, roles: list[str], *, seconds: float, since_ms: int, ends: bool
    ) -> None:
        """A task has been silent for too long.

        Args:
            task_id: Which.
            roles: The agents that run.
            seconds: How long it has been silent.
            since_ms: Since when, milliseconds since 1970.
            ends: Whether it is ended now.
        """
        if (slot := self._slots.get(task_id)) is not None:
            words = "silent for %.0f s, it is stuck (agent %s)" + (" and is ended" if ends else "")
            names = ", ".join(roles) or "none"
            self._log.add(slot.number, "warning", words, (seconds, names), slot.task)
            self._tell("stuck", slot.task, since_ms)

    def goes_on(self, task_id: str, *, since_ms: int) -> None:
        """A task that was stuck has said something.

        Args:
            task_id: Which.
            since_ms: Since when it had been silent, milliseconds since 1970.
        """
        if (slot := self._slots.get(task_id)) is not None:
            self._log.add(slot.number, "info", "goes on", (), slot.task)
            self._tell("recovered", slot.task, since_ms)

    def loop_started(self, *, slots: int, waiting: int, by: str | None) -> None:
        """The loop begins to claim."""
        asked = f" by {by}" if by else ""
        words = "Worker loop started%s with %s slots. Found %s."
        self._log.add(0, "info", words, (asked, slots, _counted(waiting)))
        self._idle = False
        if not self._slots:
            self._expect_idleness()

    def stop_asked(self, *, by: str, now: bool) -> None:
        """The loop is to stop."""
        words = "are handed back to the queue" if now else "may end"
        running = _counted(len(self._slots))
        values = (by, running, words)
        self._log.add(0, "warning", "Stop asked by %s: %s running, they %s.", values)

    def loop_stopped(self, *, waiting: int) -> None:
        """The loop has stopped and nothing runs."""
        self._log.add(0, "warning", "Worker loop stopped. %s waiting.", (_counted(waiting),))

    def loop_failed(self, error: BaseException, *, seconds: float) -> None:
        """The loop failed and will start again."""
        words = "Worker loop failed (%s: %s). It starts again in %g s."
        self._log.add(0, "error", words, (type(error).__name__, str(error), seconds))

    def say(self, type: LineType, words: str, *values: object) -> None:
        """Anything else the loop has to say."""
        self._log.add(0, type, words, values)

    def close(self) -> None:
        """Nothing is to come any more."""
        if self._idle_timer is not None:
            self._idle_timer.cancel()

    def _tell(
        self, kind: Literal["stuck", "failed", "recovered"], task: TaskName, since_ms: int
    ) -> None:
        self._alert(Alert(kind, task.task_id, task.title, since_ms))

    def _expect_idleness(self) -> None:
        if self._idle_timer is None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(IDLE_SECONDS, self._look)

    def _look(self) -> None:
        """Say that there is nothing to do, if there was nothing for long enough."""
        self._idle_timer = None
        if self._slots:
            return
        if self._clock.monotonic() - self._last_end < IDLE_SECONDS:
            self._expect_idleness()
            return
        self._idle = True
        self._log.add(0, "info", "Nothing to do; waiting for tasks.")


def _counted(tasks: int) -> str:
    return "1 task" if tasks == 1 else f"{tasks} tasks"


_conforms: type[RunObserver] = Narrator
