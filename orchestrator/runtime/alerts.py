"""Alerts: what somebody who is not looking should hear of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple


class Alert(NamedTuple):
    """Something happened to a task."""

    kind: Literal["stuck", "failed", "recovered"]
    """`recovered`: it goes on after it was stuck, or after the server was killed."""
    task_id: str
    title: str
    since_ms: int
    """When it was last heard of (stuck), when it ended (failed), since when it was away
    (recovered)."""


Tell = Callable[[Alert], None]
"""Takes an alert; returns at once and does not raise."""


def tell_nobody(alert: Alert) -> None:
    """Nobody wants to hear of it."""
