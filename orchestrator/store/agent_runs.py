"""Attempts of agents: begun and ended in the transaction that stores the event of it."""

from __future__ import annotations

from typing import Any

from sqlmodel import Session, col, func, select

from orchestrator.errors import AttemptClosed, StorageError
from orchestrator.events import Draft, to_json
from orchestrator.store.database import Connection, assignments
from orchestrator.store.events import RunKey
from orchestrator.store.tables import AgentRun
from orchestrator.tasks import EVENT_TO_AGENT_STATUS, AgentStatus, rounded_ms

_STORED = {word: status.value for word, status in EVENT_TO_AGENT_STATUS.items()}


def begin(connection: Connection, run: RunKey, draft: Draft) -> None:
    """An attempt begins (`agent_start`)."""
    connection.execute(
        "INSERT INTO agent_run (task, role, attempt, status, started)"
        " VALUES (?, ?, ?, 'running', ?)",
        (run.id, draft.fields["agentRole"], draft.fields["attempt"], draft.at_ms),
    )


def end(connection: Connection, run: RunKey, draft: Draft, output: Any) -> None:
    """An attempt ends (`agent_complete` or `agent_error`).

    Raises:
        StorageError: The attempt has ended already; a second end is refused.
    """
    fields = draft.fields
    attempt = run.id, fields["agentRole"], fields["attempt"]
    values = _end_values(draft, output)
    changed = connection.execute(
        f"UPDATE agent_run SET {assignments(*values)}"
        " WHERE task = ? AND role = ? AND attempt = ? AND status = 'running'",
        (*values.values(), *attempt),
    ).rowcount
    if changed != 1:
        raise StorageError(f"attempt {fields['attempt']} of {fields['agentRole']} has ended")


def _end_values(draft: Draft, output: Any) -> dict[str, Any]:
    fields = draft.fields
    values = {
        "status": _STORED[fields["status"]],
        "ended": draft.at_ms,
        "execution_ms": fields["executionTime"],
    }
    if output is not None:
        values["output"] = to_json(output)
    if (usage := fields.get("usage")) is not None:
        values["usage"] = to_json(usage)
    if "error" in fields:
        values["error"], values["code"] = fields["error"], fields["code"]
        values["will_retry"] = fields["willRetry"]
    return values


def close_open(
    connection: Connection, id: int, now: int, *, will_retry: bool,
    error: str = "The server ended while the agent ran.", code: str = "interrupted",
) -> list[Draft]:  # fmt: skip
    """Close the attempts of a task that have no end; the events are stored by the caller."""
    rows = connection.execute(
        "SELECT role, attempt, started FROM agent_run WHERE task = ? AND status = 'running'"
        "  ORDER BY started, attempt",
        (id,),
    ).fetchall()
    drafts = []
    for role, attempt, started in rows:
        seconds = max(0, now - started) / 1000
        fields = {
            "agentRole": role,
            "attempt": attempt,
            "status": "cancelled",
            "executionTime": rounded_ms(seconds),
            "error": error,
            "code": code,
            "willRetry": will_retry,
        }
        connection.execute(
            "UPDATE agent_run SET status = 'cancelled', error = ?, code = ?, ended = ?,"
            " execution_ms = ?, will_retry = ? WHERE task = ? AND role = ? AND attempt = ?",
            (error, code, now, fields["executionTime"], will_retry, id, role, attempt),
        )
        drafts.append(Draft("agent_error", fields, now))
    return drafts


def delivered(connection: Connection, id: int) -> list[str]:
    """Roles of a task that delivered, in the order in which they did."""
    query = "SELECT role FROM agent_run WHERE task = ? AND status = 'completed'"
    return [row[0] for row in connection.execute(f"{query} ORDER BY ended, role", (id,))]


def reopen(connection: Connection, id: int) -> None:
    """What did not complete is tried again: attempts that follow will come."""
    connection.execute(
        "UPDATE agent_run SET will_retry = true WHERE task = ? AND status <> 'completed'", (id,)
    )


def set_checkpoint(
    connection: Connection, run: RunKey, role: str, attempt: int, data: str
) -> AttemptClosed | None:
    """Keep what an agent wants back in its next attempt; refused when this one has ended."""
    return _change_open(connection, run, role, attempt, "checkpoint = ?", (data,))


def set_process_group(
    connection: Connection, run: RunKey, role: str, attempt: int, group: int, started: int
) -> AttemptClosed | None:
    """Remember the process group of a command, so that recovery can kill what is left of it.

    Refused when the attempt has ended.
    """
    changes = "process_group = ?, process_started = ?"
    return _change_open(connection, run, role, attempt, changes, (group, started))


def is_open(connection: Connection, run: RunKey, role: str, attempt: int) -> bool:
    """Whether an attempt of this run has not ended."""
    row = connection.execute(
        f"SELECT 1 FROM agent_run WHERE {_OPEN}",
        (run.id, role, attempt, run.id, run.epoch),
    ).fetchone()
    return row is not None


_OPEN = (
    "task = ? AND role = ? AND attempt = ? AND status = 'running'"
    " AND EXISTS (SELECT 1 FROM task WHERE id = ? AND epoch = ?)"
)


def _change_open(
    connection: Connection,
    run: RunKey,
    role: str,
    attempt: int,
    changes: str,
    values: tuple[object, ...],
) -> AttemptClosed | None:
    changed = connection.execute(
        f"UPDATE agent_run SET {changes} WHERE {_OPEN}",
        (*values, run.id, role, attempt, run.id, run.epoch),
    ).rowcount
    return None if changed else AttemptClosed(f"attempt {attempt} of {role} has ended")


def output_of(session: Session, id: int, role: str) -> str | None:
    """The JSON text of what the last attempt of an agent delivered."""
    query = select(AgentRun.output).where(AgentRun.task == id, AgentRun.role == role)
    return session.exec(query.order_by(col(AgentRun.attempt).desc()).limit(1)).first()


RECENT_TASKS = 1000  # whose attempts tell how long an agent takes


def recent_times(session: Session) -> list[tuple[str, int]]:
    """Role and milliseconds of the newest attempts that delivered, oldest first."""
    newest = select(func.max(AgentRun.task)).scalar_subquery()
    query = (
        select(AgentRun.role, AgentRun.execution_ms)
        .where(col(AgentRun.task) > newest - RECENT_TASKS)
        .where(AgentRun.status == AgentStatus.COMPLETED.value)
        .order_by(col(AgentRun.task), col(AgentRun.attempt))
    )
    return [(role, ms) for role, ms in session.exec(query) if ms is not None]


def of_task(session: Session, id: int) -> list[AgentRun]:
    """All attempts of a task, those of one agent in order."""
    query = select(AgentRun).where(AgentRun.task == id)
    # By number first: the wall clock may have been set back between two attempts.
    query = query.order_by(col(AgentRun.attempt), col(AgentRun.started))
    return list(session.exec(query))
