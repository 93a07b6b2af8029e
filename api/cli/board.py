"""The board: what a task's events say about it and its agents, folded as they come."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from api.task_stream import StreamedEvent
from orchestrator.tasks import EVENT_TO_AGENT_STATUS, AgentStatus, TaskStatus

MAX_TEXT_CHARACTERS = 2_000_000  # what an agent writes is kept to be shown at the end


@dataclass(slots=True)
class Row:
    """One agent."""

    role: str
    name: str
    status: AgentStatus = AgentStatus.PENDING
    attempt: int = 0
    began: float = 0.0
    """When its attempt began, on the clock of the board."""
    seconds: float | None = None
    """How long its attempt took; None while it runs."""
    progress: float | None = None
    items_done: int | None = None
    items_total: int | None = None
    message: str = ""
    text: list[str] = field(default_factory=list)
    output: Any = None
    error: str = ""
    artifacts: dict[str, int] = field(default_factory=dict)
    """Sizes in bytes by name."""
    _characters: int = 0

    def write(self, text: str) -> None:
        """Keep a piece of output text."""
        self._characters += len(text)
        if self._characters <= MAX_TEXT_CHARACTERS:
            self.text.append(text)


class Board:
    """A task as its events show it.

    Args:
        now: When it begins, in seconds on any clock that never jumps back.
    """

    def __init__(self, now: float) -> None:
        self.began = now
        self.task_id = ""
        self.title = ""
        self.rows: dict[str, Row] = {}
        self.status: TaskStatus | None = None
        """Its state; None until the first event."""
        self.seconds: float | None = None
        """Active time of a task that has ended."""
        self.error = ""
        self.failed: list[str] = []
        """Agents that did not deliver although the task completed."""
        self.not_stopped: list[str] = []
        """Agents that run on although they were told to stop."""

    @property
    def ended(self) -> bool:
        """Whether the last event ended the task."""
        return self.seconds is not None

    def take(self, event: StreamedEvent, now: float) -> None:
        """Fold an event in; one of a type that is not known changes nothing."""
        fields = event.fields
        row = self.rows.get(fields.get("agentRole", ""))
        match event.type:
            case "task_created":
                self._created(fields)
            case "task_state":
                self.status, self.seconds = TaskStatus(fields["state"]), None
            case "task_complete" | "task_error":
                self._end(fields)
            case "agent_start" if row is not None:
                self._start(row, fields, now)
            case "agent_progress" if row is not None:
                _progress(row, fields)
            case "agent_complete" | "agent_error" if row is not None:
                _end_attempt(row, fields)

    def _created(self, fields: Mapping[str, Any]) -> None:
        self.task_id, self.title = fields["taskId"], fields["title"]
        self.status = TaskStatus.QUEUED
        for agent in fields["agents"]:
            self.rows[agent["agentRole"]] = Row(agent["agentRole"], agent["agentName"])

    def _start(self, row: Row, fields: Mapping[str, Any], now: float) -> None:
        self.status = TaskStatus.RUNNING
        fresh = Row(row.role, row.name, AgentStatus.RUNNING, fields["attempt"], now)
        fresh.artifacts = row.artifacts  # a new attempt withdraws texts, not files
        self.rows[row.role] = fresh

    def _end(self, fields: Mapping[str, Any]) -> None:
        self.status = TaskStatus(fields.get("status", TaskStatus.COMPLETED))
        self.seconds = fields["totalExecutionTime"] / 1000
        self.error = fields.get("error", "")
        self.failed = fields.get("failedAgents", [])
        self.not_stopped = fields.get("notStopped", [])
        for row in self.rows.values():
            if row.status == AgentStatus.PENDING:
                row.status = AgentStatus.SKIPPED


def _progress(row: Row, fields: Mapping[str, Any]) -> None:
    row.message = fields.get("message", row.message)
    row.progress = fields.get("progress", row.progress)
    row.items_done = fields.get("itemsDone", row.items_done)
    row.items_total = fields.get("itemsTotal", row.items_total)
    if "content" in fields:
        row.write(fields["content"])
    if "artifact" in fields:
        row.artifacts[fields["artifact"]["name"]] = fields["artifact"]["size"]


def _end_attempt(row: Row, fields: Mapping[str, Any]) -> None:
    row.seconds = fields["executionTime"] / 1000
    row.status = EVENT_TO_AGENT_STATUS[fields["status"]]
    row.error = fields.get("error", "")
    row.output = fields.get("output")
    for artifact in fields.get("artifacts", ()):
        row.artifacts[artifact["name"]] = artifact["size"]
    if row.status == AgentStatus.COMPLETED:
        row.progress = 1.0
    elif fields.get("willRetry"):
        row.message = f"{row.error}; trying again"
