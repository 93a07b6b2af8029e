"""Dispatch: which queued task is next.

The task table is the truth; a dispatcher only names tasks worth looking at. A delivery that is
lost, doubled or late does no harm, since the claim compares the round.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter
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
        """A task was queued."""

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
        """Forget a task, if it waits; takes as long as the queue is long."""

    def __len__(self) -> int:
        """How many tasks wait."""


class InProcessDispatcher:
    """Dispatch within one process: priority, then owners with fewer running tasks, then age.

    Args:
        max_per_owner: How many tasks of one owner may run at once; None for no limit.
    """

    def __init__(self, *, max_per_owner: int | None = None) -> None:
        self._max_per_owner = max_per_owner
        self._queues: dict[int, dict[str, list[tuple[int, Delivery]]]] = {}
        self._running: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._waiting = 0

    def offer(self, delivery: Delivery) -> None:
        """A task was queued."""
        owners = self._queues.setdefault(delivery.priority, {})
        heapq.heappush(owners.setdefault(delivery.owner, []), (next(self._numbers), delivery))
        self._waiting += 1

    def next(self) -> Delivery | None:
        """The task to claim next; None when none may run now."""
        for priority in sorted(self._queues, reverse=True):
            owners = self._queues[priority]
            allowed = [owner for owner in owners if self.may_start(owner)]
            if allowed:
                owner = min(allowed, key=lambda o: (self._running[o], owners[o][0][0]))
                return self._take(priority, owner)
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
        self._waiting = 0

    def discard(self, id: int) -> None:
        """Forget a task, if it waits."""
        for priority, owners in list(self._queues.items()):
            for owner, queue in list(owners.items()):
                kept = [entry for entry in queue if entry[1].id != id]
                if len(kept) == len(queue):
                    continue
                self._waiting -= len(queue) - len(kept)
                heapq.heapify(kept)
                owners[owner] = kept
                if not kept:
                    del owners[owner]
                    if not owners:
                        del self._queues[priority]
                return

    def __len__(self) -> int:
        return self._waiting

    def _take(self, priority: int, owner: str) -> Delivery:
        owners = self._queues[priority]
        _, delivery = heapq.heappop(owners[owner])
        if not owners[owner]:
            del owners[owner]
            if not owners:
                del self._queues[priority]
        self._waiting -= 1
        return delivery


_conforms: type[Dispatcher] = InProcessDispatcher
