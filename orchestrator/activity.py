"""What the runtime does, step by step, for the log of whoever runs it.

Every task writes several such lines, and a record of `logging` with its handlers costs a multiple
of the step it tells of. So a server may take these lines itself, see `divert`. Where nobody does,
they are ordinary records of the logger of their module, with the facts as ``extra``.

What people wrote (prompts, inputs, outputs) and what opens doors is no fact.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

Sink = Callable[[str, str, dict[str, Any]], None]
"""Takes a line: name of the logger, message, facts."""

_sink: Sink | None = None


def divert(sink: Sink | None) -> None:
    """Give all lines to a sink from now on; None gives them to `logging` again."""
    global _sink
    _sink = sink


class ActivityLog:
    """The lines of one module.

    Args:
        name: Of its logger.
    """

    __slots__ = ("_logger", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._logger = logging.getLogger(name)

    def line(self, message: str, facts: dict[str, Any]) -> None:
        """Write a line.

        Args:
            message: What happened; the same words each time, without quotes.
            facts: To what: ids, numbers, names; at least one. Not changed afterwards.
        """
        if _sink is None:
            self._logger.info(message, extra=facts)
        else:
            _sink(self._name, message, facts)
