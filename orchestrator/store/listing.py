"""Reading tasks: one by its id, pages of many, and what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from sqlalchemy.orm import defer
from sqlmodel import Session, col, func, or_, select

from orchestrator.store.shares import is_shared_with, shared_with
from orchestrator.store.tables import AgentRun, Task
from orchestrator.tasks import END_STATES, TaskStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskFilter:
    """Which tasks to list; every field that is set narrows it."""

    owner: str | None = None
    """None for all owners."""
    shared_with: str | None = None
    """Tasks of others that are shared with this subject."""
    statuses: frozenset[TaskStatus] = frozenset()
    agent: str | None = None
    """Tasks that selected this role."""
    text: str | None = None
    """Part of title or description, any case."""
    created_from_ms: int | None = None
    created_to_ms: int | None = None
    """Exclusive."""
    job_type: str | None = None
    ids: frozenset[int] | None = None
    """`task.id` of those that may be among them; None for any."""
    unfinished: bool = False
    archived: bool = False
    metadata: dict[str, str] = field(default_factory=dict)


def find(session: Session, task_id: str, owner: str | None, *, shared: bool = False) -> Task | None:
    """A task; None when there is none, or when it belongs to somebody else.

    Args:
        session: A read transaction.
        task_id: UUID.
        owner: None for any owner.
        shared: Whether one that is shared with `owner` will do.
    """
    query = select(Task).where(Task.task_id == task_id, col(Task.deleted).is_(None))
    if owner is not None and shared:
        query = query.where(or_(col(Task.owner) == owner, is_shared_with(owner)))
    elif owner is not None:
        query = query.where(Task.owner == owner)
    return session.exec(query).first()


def find_key(session: Session, owner: str, key: str) -> Task | None:
    """The task an owner's idempotency key names."""
    query = select(Task).where(Task.owner == owner, Task.idempotency_key == key)
    return session.exec(query).first()


def page(
    session: Session, wanted: TaskFilter, *, before: int | None, limit: int
) -> list[tuple[Task, list[AgentRun]]]:
    """Tasks, newest first, each with its attempts.

    Args:
        session: A read transaction.
        wanted: Which.
        before: `task.id` of the last one of the page before; exclusive.
        limit: At most so many.
    """
    query = select(Task).where(*conditions(wanted))
    if before is not None:
        query = query.where(col(Task.id) < before)
    found = list(session.exec(query.order_by(col(Task.id).desc()).limit(limit)))
    return with_attempts(session, found)


def with_attempts(session: Session, found: Sequence[Task]) -> list[tuple[Task, list[AgentRun]]]:
    """Each of some tasks with its attempts, oldest first."""
    runs: dict[int, list[AgentRun]] = {task.id: [] for task in found}
    for run in attempts(session, list(runs)):
        runs[run.task].append(run)
    return [(task, runs[task.id]) for task in found]


def attempts(session: Session, ids: Sequence[int]) -> list[AgentRun]:
    """All attempts of some tasks, in order, without what may be megabytes each."""
    light = (defer(cast("Any", AgentRun.output)), defer(cast("Any", AgentRun.checkpoint)))
    query = select(AgentRun).options(*light).where(col(AgentRun.task).in_(ids))
    return list(session.exec(query.order_by(col(AgentRun.attempt), col(AgentRun.started))))


def count_unfinished(session: Session) -> dict[str, int]:
    """How many unfinished tasks there are, by status."""
    query = (
        select(Task.status, func.count())
        .where(col(Task.ended).is_(None), col(Task.deleted).is_(None))
        .group_by(Task.status)
    )
    return dict(session.exec(query).all())


def statuses(session: Session, *, ids: Sequence[int]) -> dict[int, str]:
    """The status of each of some tasks."""
    query = select(Task.id, Task.status).where(col(Task.id).in_(ids))
    return dict(session.exec(query).all())


def end_of_log(session: Session, id: int) -> tuple[int, bool] | None:
    """Number of the last event and whether the task is in an end state; None when deleted."""
    query = select(Task.last_seq, Task.status).where(Task.id == id, col(Task.deleted).is_(None))
    row = session.exec(query).first()
    return None if row is None else (row[0], row[1] in END_STATES)


def conditions(wanted: TaskFilter) -> list[Any]:
    """What a query says to narrow `Task` down to the wanted ones."""
    found: list[Any] = [col(Task.deleted).is_(None)]
    if wanted.owner is not None:
        found.append(Task.owner == wanted.owner)
    if wanted.shared_with is not None:
        found += [Task.owner != wanted.shared_with, shared_with(wanted.shared_with)]
    if not wanted.archived:
        found.append(col(Task.archived).is_(False))
    if wanted.statuses:
        found.append(col(Task.status).in_([s.value for s in wanted.statuses]))
    if wanted.unfinished:
        found.append(col(Task.ended).is_(None))
    if wanted.agent is not None:
        # Roles have a short alphabet without quotes, so the JSON text can be searched.
        found.append(col(Task.agents).contains(f'"agentRole":"{wanted.agent}"', autoescape=True))
    if wanted.text is not None:
        found.append(
            or_(
                col(Task.title).icontains(wanted.text, autoescape=True),
                col(Task.description).icontains(wanted.text, autoescape=True),
            )
        )
    if wanted.created_from_ms is not None:
        found.append(Task.created >= wanted.created_from_ms)
    if wanted.created_to_ms is not None:
        found.append(Task.created < wanted.created_to_ms)
    if wanted.job_type is not None:
        found.append(Task.job_type == wanted.job_type)
    if wanted.ids is not None:
        found.append(col(Task.id).in_(wanted.ids))
    for key, value in wanted.metadata.items():
        found.append(col(Task.labels)[key].as_string() == value)
    return found
