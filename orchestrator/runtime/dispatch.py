"""Dispatch: which queued task is next.

The task table is the truth; a dispatcher only names tasks worth looking at. A delivery that is
lost, doubled or late does no harm, since the claim compares the round.
"""

from __future__ import annotations

import itertools
from collections import Counter, OrderedDict
from typing import NamedTuple, Protocol


class Delivery(NamedTuple):
    """A queued task, to be claimed."""

    id: int
    task_id: str
    owner: str
    priority: int
    round: int


class Dispatcher(Protocol):
    """Names the next task; promises neither that it is named once, nor that it is queued still."""

    def offer(self, delivery: Delivery) -> None:
        """A task was queued; it waits once, however often it is offered."""

    def next(self) -> Delivery | None:
        """The task to claim next; None when there is none that may run now."""

    def may_start(self, owner: str) -> bool:
        """Whether one more task of this owner may run."""

    def started(self, owner: str) -> None:
        """A task of this owner runs."""

    def ended(self, owner: str) -> None:
        """A task of this owner runs no longer."""

    def clear(self) -> None:
        """Forget all tasks that wait."""

    def discard(self, id: int) -> None:
        """Forget a task, if it waits: it ended or was paused."""

    def __len__(self) -> int:
        """How many tasks wait."""


_Queue = OrderedDict[int, int]
"""What waits of one owner and priority: `task.id` → number of its delivery, oldest first."""


class InProcessDispatcher:
    """Dispatch within one process: priority, then owners with fewer running tasks, then age.

    Args:
        max_per_owner: How many tasks of one owner may run at once; None for no limit.
    """

    def __init__(self, *, max_per_owner: int | None = None) -> None:
        self._max_per_owner = max_per_owner
        self._queues: dict[int, dict[str, _Queue]] = {}
        self._waiting: dict[int, Delivery] = {}
        self._running: Counter[str] = Counter()
        self._numbers = itertools.count()

    def offer(self, delivery: Delivery) -> None:
        """A task was queued; an earlier delivery of it is forgotten."""
        earlier = self._waiting.get(delivery.id)
        if earlier is not None and earlier.round > delivery.round:
            return
        self.discard(delivery.id)
        self._waiting[delivery.id] = delivery
        owners = self._queues.setdefault(delivery.priority, {})
        queue = owners.setdefault(delivery.owner, OrderedDict())
        queue[delivery.id] = next(self._numbers)

    def next(self) -> Delivery | None:
        """The task to claim next; None when none may run now."""
        for priority in sorted(self._queues, reverse=True):
            owners = self._queues[priority]
            allowed = [owner for owner in owners if self.may_start(owner)]
            if allowed:
                owner = min(allowed, key=lambda o: (self._running[o], _oldest(owners[o])[1]))
                id, _ = _oldest(owners[owner])
                return self._take(id)
        return None

    def may_start(self, owner: str) -> bool:
        """Whether one more task of this owner may run."""
        return self._max_per_owner is None or self._running[owner] < self._max_per_owner

    def started(self, owner: str) -> None:
        """A task of this owner runs."""
        self._running[owner] += 1

    def ended(self, owner: str) -> None:
        """A task of this owner runs no longer."""
        self._running[owner] -= 1
        if self._running[owner] <= 0:
            del self._running[owner]

    def clear(self) -> None:
        """Forget all tasks that wait."""
        self._queues.clear()
        self._waiting.clear()

    def discard(self, id: int) -> None:
        """Forget a task, if it waits."""
        if id in self._waiting:
            self._take(id)

    def __len__(self) -> int:
        return len(self._waiting)

    def _take(self, id: int) -> Delivery:
        delivery = self._waiting.pop(id)
        owners = self._queues[delivery.priority]
        queue = owners[delivery.owner]
        del queue[id]
        if not queue:
            del owners[delivery.owner]
            if not owners:
                del self._queues[delivery.priority]
        return delivery


def _oldest(queue: _Queue) -> tuple[int, int]:
    """Task and number of what has waited longest; an `OrderedDict` finds it at once."""
    return next(iter(queue.items()))


_conforms: type[Dispatcher] = InProcessDispatcher
