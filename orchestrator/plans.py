"""Plans: which agents may start next, given what has ended.

One after another, all at once and a graph are the same question with other answers: a role may
start when nothing it depends on is missing and there is room for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple

from orchestrator.tasks import TaskRequest


class Plan(NamedTuple):
    """The order of one task's agents."""

    roles: tuple[str, ...]
    """All agents, in the order they were selected."""
    max_parallel: int
    """How many may run at the same time."""
    stops_on_error: bool
    """Whether nothing new starts once an agent failed."""
    depends_on: Mapping[str, Collection[str]]
    """What must have delivered before a role starts."""

    @classmethod
    def of(cls, request: TaskRequest) -> Plan:
        """The plan a request asks for."""
        roles = tuple(request.selected_agents)
        one_by_one = request.mode == "sequential"
        most = 1 if one_by_one else min(len(roles), request.max_parallel or len(roles))
        return cls(roles, most, request.stops_on_error, request.depends_on or {})

    def ready(
        self, delivered: Collection[str], failed: Collection[str], running: Collection[str]
    ) -> list[str]:
        """Roles that may start now, in order, as many as there is room for.

        Args:
            delivered: Roles that ended well.
            failed: Roles that ended otherwise.
            running: Roles that run.
        """
        room = self.max_parallel - len(running)
        if room <= 0 or len(delivered) + len(failed) + len(running) == len(self.roles):
            return []
        if failed and self.stops_on_error:
            return []
        ready: list[str] = []
        for role in self.roles:
            if role in delivered or role in failed or role in running:
                continue
            needed = self.depends_on.get(role)
            if not needed or all(map(delivered.__contains__, needed)):
                ready.append(role)
                if len(ready) == room:
                    break
        return ready
