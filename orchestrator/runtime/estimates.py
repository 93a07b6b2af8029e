"""Estimates: how long a task will take, from how long its agents took lately.

Kept in memory from ended attempts and read once at start, so that a submit costs no statement.
"""

from __future__ import annotations

import heapq
from collections import deque

from orchestrator.agents import TaskInfo
from orchestrator.observers import RunObserver
from orchestrator.outcomes import Outcome
from orchestrator.plans import Plan
from orchestrator.store import agent_runs
from orchestrator.store.database import Database
from orchestrator.tasks import TaskRequest, rounded_ms

REMEMBERED = 21  # attempts of an agent; odd, so that the median is one of them


class Estimates:
    """The durations of each agent's last successful attempts."""

    def __init__(self) -> None:
        self._times: dict[str, deque[int]] = {}  # milliseconds
        self._medians: dict[str, int] = {}

    async def load(self, database: Database) -> None:
        """Read what earlier processes have seen."""
        for role, execution_ms in await database.read(agent_runs.recent_times):
            self._remember(role, execution_ms)

    def of(self, request: TaskRequest) -> float | None:
        """Seconds a task will be active if nothing fails; None while an agent is unknown."""
        roles = request.selected_agents
        if not all(map(self._times.__contains__, roles)):
            return None
        if len(roles) == 1 or request.mode == "sequential":
            return sum(map(self._median, roles)) / 1000
        return self._simulated(request.plan) / 1000

    def attempt_began(self, task: TaskInfo, role: str, attempt: int) -> None:
        """Tells nothing yet."""

    def attempt_ended(
        self, task: TaskInfo, role: str, attempt: int, outcome: Outcome, seconds: float
    ) -> None:
        """Remember how long an agent took that delivered."""
        if outcome.delivered:
            self._remember(role, rounded_ms(seconds))

    def _simulated(self, plan: Plan) -> int:
        """When the last agent ends if each takes its median and starts as early as it may."""
        now = 0
        ended: set[str] = set()
        running: list[tuple[int, str]] = []
        while True:
            for role in plan.ready(ended, (), [role for _, role in running]):
                heapq.heappush(running, (now + self._median(role), role))
            if not running:
                return now
            now, role = heapq.heappop(running)
            ended.add(role)

    def _remember(self, role: str, milliseconds: int) -> None:
        times = self._times.get(role)
        if times is None:
            times = self._times[role] = deque(maxlen=REMEMBERED)
        times.append(milliseconds)
        self._medians.pop(role, None)

    def _median(self, role: str) -> int:
        median = self._medians.get(role)
        if median is None:
            times = sorted(self._times[role])
            median = self._medians[role] = times[len(times) // 2]
        return median


_conforms: type[RunObserver] = Estimates
