"""Plans: which agents may start next, given what has ended.

One after another, all at once and a graph are the same question with other answers: a role may
start when nothing it depends on is missing and there is room for it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import NamedTuple


class Plan(NamedTuple):
    """The order of one task's agents."""

    roles: tuple[str, ...]
    """All agents, in the order they were selected."""
    max_parallel: int
    """How many may run at the same time."""
    stops_on_error: bool
    """Whether nothing new starts once an agent failed; the default unless parallel."""
    depends_on: Mapping[str, Collection[str]]
    """What must have delivered before a role starts."""

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
        if room <= 0 or (failed and self.stops_on_error):
            return []
        ready: list[str] = []
        for role in self.roles:
            if role in delivered or role in failed or role in running:
                continue
            needed = self.depends_on.get(role)
            if not needed or all(map(delivered.__contains__, needed)):
                ready.append(role)
                room -= 1
                if not room:
                    break
        return ready
