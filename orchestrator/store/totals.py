"""Totals: what is stored, all together."""

from __future__ import annotations

from typing import NamedTuple

from sqlmodel import Session, col, func, select

from orchestrator.store.listing import count_unfinished
from orchestrator.store.tables import Task


class Totals(NamedTuple):
    """What is stored of all tasks that are not deleted."""

    tasks: int
    events: int
    log_bytes: int


def read(session: Session) -> tuple[dict[str, int], Totals]:
    """Unfinished tasks by status, and what is stored in all. Looks at every task."""
    query = select(
        func.count(),
        func.coalesce(func.sum(Task.last_seq), 0),
        func.coalesce(func.sum(Task.log_bytes), 0),
    ).where(col(Task.deleted).is_(None))
    return count_unfinished(session), Totals(*session.exec(query).one())
