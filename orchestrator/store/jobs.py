"""Jobs: finished and unfinished tasks as a history, and what statistics are made of."""

from __future__ import annotations

from typing import NamedTuple

from sqlmodel import Session, col, func, select

from orchestrator.store import listing
from orchestrator.store.database import Connection
from orchestrator.store.listing import TaskFilter
from orchestrator.store.tables import AgentRun, Software, Task

PAGE_ROWS = 512  # a read transaction is over in about a millisecond


class HistoryPage(NamedTuple):
    """Some tasks with their attempts, and how many there are in all."""

    jobs: list[tuple[Task, list[AgentRun]]]
    total: int
    software: list[Software]
    """What ran when, oldest first."""


def history(session: Session, wanted: TaskFilter, *, offset: int, limit: int) -> HistoryPage:
    """Tasks, newest first, by how many to leave out."""
    conditions = listing.conditions(wanted)
    total = session.exec(select(func.count()).select_from(Task).where(*conditions)).one()
    query = select(Task).where(*conditions).order_by(col(Task.id).desc())
    found = list(session.exec(query.offset(offset).limit(limit)))
    software = list(session.exec(select(Software).order_by(col(Software.since))))
    return HistoryPage(listing.with_attempts(session, found), total, software)


class Figures(NamedTuple):
    """What statistics need to know of a task, or of an attempt of an agent."""

    id: int
    """`task.id`."""
    group: str
    """Job type or role."""
    created: int
    status: str
    code: str | None
    time_ms: int | None
    usage: str | None


def task_figures(
    session: Session, *, owner: str | None, since_ms: int, after: int
) -> list[Figures]:
    """Tasks created since then, by `task.id`, at most `PAGE_ROWS`.

    Args:
        session: A read transaction.
        owner: Whose; None for everybody's.
        since_ms: Milliseconds since 1970.
        after: `task.id`, exclusive.
    """
    query = (
        select(
            Task.id, Task.job_type, Task.created, Task.status, Task.code, Task.active_ms,
            Task.usage,
        )  # type: ignore[call-overload]
        .where(col(Task.deleted).is_(None), Task.created >= since_ms, Task.id > after)
        .order_by(col(Task.id))
        .limit(PAGE_ROWS)
    )  # fmt: skip
    if owner is not None:
        query = query.where(Task.owner == owner)
    return [Figures(*row) for row in session.exec(query)]


def attempt_figures(
    session: Session, *, owner: str | None, since_ms: int, first: int, last: int
) -> list[Figures]:
    """The attempts of tasks created since then, with `first <= task.id <= last`."""
    query = (
        select(
            AgentRun.task, AgentRun.role, Task.created, AgentRun.status, AgentRun.code,
            AgentRun.execution_ms, AgentRun.usage,
        )  # type: ignore[call-overload]
        .join(Task, col(Task.id) == AgentRun.task)
        .where(col(Task.deleted).is_(None), Task.created >= since_ms)
        .where(col(AgentRun.task).between(first, last))
    )  # fmt: skip
    if owner is not None:
        query = query.where(Task.owner == owner)
    return [Figures(*row) for row in session.exec(query)]


def note_software(
    connection: Connection, *, node: str, version: str, python: str, platform: str, now: int
) -> None:
    """Remember with what this node runs from now on, unless it did before."""
    last = connection.execute(
        "SELECT version, python, platform FROM software WHERE node = ? ORDER BY id DESC LIMIT 1",
        (node,),
    ).fetchone()
    if last is None or tuple(last) != (version, python, platform):
        connection.execute(
            "INSERT INTO software (node, since, version, python, platform) VALUES (?, ?, ?, ?, ?)",
            (node, now, version, python, platform),
        )
