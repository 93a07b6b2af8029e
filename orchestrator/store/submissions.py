"""Submitting: one transaction stores the task and its first event, or finds that it is there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from orchestrator.errors import (
    FieldError,
    IdempotencyMismatch,
    InvalidRequest,
    PoststreamError,
)  # fmt: skip
from orchestrator.events import Draft, to_json
from orchestrator.store import agent_runs, dependencies, events
from orchestrator.store.database import Connection
from orchestrator.store.dependencies import Needed
from orchestrator.store.events import RunKey, StoredEvent
from orchestrator.store.quotas import Quotas
from orchestrator.tasks import TaskRequest, TaskStatus


class NewTask(NamedTuple):
    """A task to be stored."""

    task_id: str
    owner: str
    request: TaskRequest
    text: str
    """The request as JSON."""
    agents: str
    """JSON text: a list of {agentRole, agentName, agentDescription, kind}."""
    idempotency_key: str | None
    body_hash: str | None
    quotas: Quotas
    """How many unfinished tasks its owner may have."""
    node: str | None
    """Who claims it at once; None leaves it queued."""
    created: Draft
    starts: Sequence[Draft]
    """`agent_start` of the agents it begins with, if it is claimed at once."""
    now: int


class Submitted(NamedTuple):
    """A task that is stored."""

    id: int
    task_id: str
    status: str
    epoch: int
    events: list[StoredEvent]
    """What this transaction added; empty for a repeat."""
    replayed: bool
    """Whether an earlier request with the same key has stored it."""
    waits_for_others: bool


def find(
    connection: Connection, owner: str, key: str, body_hash: str
) -> Submitted | PoststreamError | None:
    """The task an owner's key names; refused when its body was another one."""
    row = connection.execute(
        "SELECT id, task_id, status, epoch, body_hash FROM task"
        " WHERE owner = ? AND idempotency_key = ?",
        (owner, key),
    ).fetchone()
    if row is None:
        return None
    if row[4] != body_hash:
        return IdempotencyMismatch()
    return Submitted(row[0], row[1], row[2], row[3], [], True, False)


def submit(connection: Connection, new: NewTask) -> Submitted | PoststreamError:
    """Store a task, or find that its key has stored it before.

    Refused with `IdempotencyMismatch`, `LimitExceeded`, or `InvalidRequest` (`after` names a task
    that is not there).
    """
    if new.idempotency_key is not None:
        found = find(connection, new.owner, new.idempotency_key, new.body_hash or "")
        if found is not None:
            return found
    if (refused := new.quotas.take(connection, new.owner)) is not None:
        return refused
    if new.request.after:
        return _submit_after(connection, new, new.request.after)
    return _store(connection, new)


def _submit_after(
    connection: Connection, new: NewTask, after: Sequence[str]
) -> Submitted | InvalidRequest:
    """Store a task that needs others."""
    needed = _needed(connection, new.owner, after)
    if isinstance(needed, InvalidRequest):
        return needed
    broken = next((each.task_id for each in needed if each.broken), None)
    if broken is not None:
        return _store_broken(connection, new, broken)
    waits = any(each.status != TaskStatus.COMPLETED for each in needed)
    stored = _store(connection, new, waits=waits)
    dependencies.add(connection, stored.id, needed)
    return stored


_RUNNING, _QUEUED = TaskStatus.RUNNING.value, TaskStatus.QUEUED.value
_INSERT = (
    "INSERT INTO task (task_id, owner, title, description, request, agents, metadata, job_type,"
    " trigger_source, priority, status, epoch, node, log_bytes, idempotency_key,"
    " body_hash, created, queued, updated, started)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, nullif(?, ''), ?, ?, ?, ?, ?, ?, nullif(?, ''),"
    " ?, ?, ?, ?)"
)


def _store(connection: Connection, new: NewTask, *, waits: bool = False) -> Submitted:
    claimed = new.node is not None and not waits
    status = _RUNNING if claimed else _QUEUED
    drafts = [new.created, *new.starts] if claimed else [new.created]
    stored = events.number(new.task_id, drafts, last_seq=len(drafts))
    epoch = 1 if claimed else 0
    id = _insert(connection, new, status=status, epoch=epoch, stored=stored)
    for start in drafts[1:]:
        agent_runs.begin(connection, RunKey(id, new.task_id, epoch), start)
    return Submitted(id, new.task_id, status, epoch, stored, False, waits)


def _store_broken(connection: Connection, new: NewTask, broken: str) -> Submitted:
    """A task that can never start is stored with its end."""
    drafts = [new.created, dependency_failed(broken, new.now)]
    stored = events.number(new.task_id, drafts, last_seq=2)
    id = _insert(connection, new, status=TaskStatus.CANCELLED, epoch=0, stored=stored)
    connection.execute(
        "UPDATE task SET ended = ?, error = ?, code = ?, turned = 2 WHERE id = ?",
        (new.now, drafts[1].fields["error"], drafts[1].fields["code"], id),
    )
    return Submitted(id, new.task_id, TaskStatus.CANCELLED, 0, stored, False, False)


def _insert(
    connection: Connection, new: NewTask, *, status: str, epoch: int, stored: list[StoredEvent]
) -> int:
    request = new.request
    cursor = connection.execute(
        _INSERT,
        (
            new.task_id, new.owner, new.created.fields["title"], request.description, new.text,
            new.agents, to_json(request.metadata) if request.metadata else "{}",
            request.job_type or "manual",
            # The driver takes as long for a None as for ten numbers; what is never empty has none.
            request.trigger_source or "", request.priority or 0, status, epoch,
            new.node if epoch else None, events.length(stored),
            new.idempotency_key, new.body_hash or "", new.now, new.now, new.now,
            new.now if epoch else None,
        ),
    )  # fmt: skip
    id = cursor.lastrowid or 0  # RETURNING would take half as long again
    events.insert(connection, id, stored)
    return id


def _needed(
    connection: Connection, owner: str, after: Sequence[str]
) -> list[Needed] | InvalidRequest:
    """The tasks that must complete first."""
    found = []
    for index, needed in enumerate(dependencies.find(connection, owner, after)):
        if needed is None:
            return InvalidRequest(FieldError(f"/after/{index}", "there is no such task of yours"))
        found.append(needed)
    return found


def dependency_failed(task_id: str, now: int) -> Draft:
    """The end of a task whose dependency did not complete."""
    fields = {
        "status": TaskStatus.CANCELLED.value,
        "error": f"The task {task_id}, which must complete first, did not.",
        "code": "dependency_failed",
        "totalExecutionTime": 0,
    }
    return Draft("task_error", fields, now)
