"""Controls: what may be asked of a task in which state, and why not.

One table answers twice: it decides in the transaction of a call, and it says beforehand, as
`actions` of a snapshot, what that call would be answered.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from orchestrator.tasks import END_STATES, TaskStatus

Control = Literal["cancel", "pause", "pause_now", "resume", "retry", "answer", "delete"]
"""``pause_now`` is the pause that stops the running agents."""

ACTIONS: tuple[Control, ...] = ("cancel", "pause", "resume", "retry", "answer", "delete")
"""What a snapshot speaks of, in this order."""


class Standing(NamedTuple):
    """What decides about a call."""

    status: TaskStatus
    control: str | None = None
    """The control that was used last; tells a repeated call from one that makes no sense."""
    agents_failed: int = 0
    """Agents that did not deliver, once the task has ended."""
    blocked: str | None = None
    """Why the task could not start even if it were queued again."""


class Verdict(NamedTuple):
    """What becomes of a call."""

    acts: bool
    """Whether it changes something."""
    reason: str = ""
    """Why it does not."""
    repeats: bool = False
    """Whether what it asks for is so already: it is answered like the call that made it so."""


_ACTS = Verdict(True)


def judge(control: Control, standing: Standing) -> Verdict:
    """What becomes of a call in this state."""
    return _JUDGES[control](standing)


def actions(standing: Standing) -> dict[str, dict[str, Any]]:
    """Which calls would change something now, and why the others would not."""
    said: dict[str, dict[str, Any]] = {}
    for control in ACTIONS:
        acts, reason, _ = judge(control, standing)
        said[control] = {"allowed": True} if acts else {"allowed": False, "reason": reason}
    return said


def _cancel(standing: Standing) -> Verdict:
    if standing.status in (TaskStatus.CANCELLING, TaskStatus.CANCELLED):
        return _is_so(standing)
    if standing.status in END_STATES:
        return _refused(standing, "there is nothing to cancel")
    return _ACTS


def _pause(standing: Standing) -> Verdict:
    if standing.status in (TaskStatus.PAUSING, TaskStatus.PAUSED):
        return _is_so(standing)
    if standing.status in END_STATES or standing.status == TaskStatus.CANCELLING:
        return _refused(standing, "there is nothing to pause")
    return _ACTS


def _pause_now(standing: Standing) -> Verdict:
    if standing.status == TaskStatus.PAUSING and standing.control != "pause_now":
        return _ACTS
    return _pause(standing)


def _resume(standing: Standing) -> Verdict:
    if standing.status in (TaskStatus.PAUSED, TaskStatus.PAUSING):
        return _ACTS
    if standing.status in _GOING and standing.control == "resume":
        return _is_so(standing)
    return _refused(standing, "only a paused task is resumed")


def _retry(standing: Standing) -> Verdict:
    if standing.status in _GOING and standing.control == "retry":
        return _is_so(standing)
    if standing.status not in END_STATES:
        return _refused(standing, "only what has ended is tried again")
    if standing.status == TaskStatus.COMPLETED and not standing.agents_failed:
        return _refused(standing, "every agent has delivered")
    if standing.blocked is not None:
        return Verdict(False, standing.blocked)
    return _ACTS


def _answer(standing: Standing) -> Verdict:
    return _refused(standing, "it asks nothing")


def _delete(standing: Standing) -> Verdict:
    if standing.status in END_STATES:
        return _ACTS
    return _refused(standing, "cancel it first")


_GOING = (TaskStatus.QUEUED, TaskStatus.RUNNING)

_JUDGES: dict[Control, Callable[[Standing], Verdict]] = {
    "cancel": _cancel,
    "pause": _pause,
    "pause_now": _pause_now,
    "resume": _resume,
    "retry": _retry,
    "answer": _answer,
    "delete": _delete,
}


def _is_so(standing: Standing) -> Verdict:
    return Verdict(False, f"The task is {standing.status} already.", repeats=True)


def _refused(standing: Standing, why: str) -> Verdict:
    return Verdict(False, f"The task is {standing.status}; {why}.")
