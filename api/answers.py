"""The JSON of answers, as models: for the OpenAPI document and for tests.

Answers themselves are plain dicts; a model on the way of each would cost more than it is worth. A
field that may be absent is never null. More fields may come.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from orchestrator.events import AgentInfo, ArtifactInfo, Usage
from orchestrator.tasks import AgentStatus, ExecutionMode, TaskStatus


class Model(BaseModel):
    """Base of the answers."""

    model_config = ConfigDict(
        extra="allow", alias_generator=to_camel, populate_by_name=True, use_enum_values=True
    )


class FieldProblem(Model):
    """One field that is wrong."""

    pointer: str = Field(description="JSON pointer into the body.")
    detail: str


class ProblemDocument(Model):
    """An error (RFC 9457)."""

    type: str = Field(description="Ends in a stable word, e.g. `/problems/not-found`.")
    title: str
    status: int
    detail: str = Field(description="What is wrong and what would be right.")
    instance: str | None = None
    errors: list[FieldProblem] | None = None


class Action(Model):
    """Whether something may be done with a task now."""

    allowed: bool
    reason: str | None = Field(default=None, description="Why not.")


class AgentEntry(AgentInfo):
    """An agent of a task, as lists show it."""

    model_config = ConfigDict(extra="allow", use_enum_values=True)

    kind: str
    status: AgentStatus
    attempt: int = Field(ge=0, description="0 before its first.")
    started_at: str | None = None
    ended_at: str | None = None
    execution_time: int | None = Field(default=None, description="Milliseconds.")
    progress: float | None = Field(default=None, ge=0, le=1)
    error: str | None = None
    code: str | None = None
    usage: Usage | None = None


class AgentSnapshot(AgentEntry):
    """An agent of a task with its texts and files."""

    content: str = Field(description="The text of its last attempt.")
    message: str | None = None
    eta_seconds: float | None = None
    output: Any = Field(default=None, description="Its JSON result.")
    has_artifacts: bool
    artifacts: list[ArtifactInfo]


class TaskEntry(Model):
    """A task, as lists show it."""

    task_id: str = Field(description="UUID v4.")
    owner: str
    title: str
    description: str
    status: TaskStatus
    execution_mode: ExecutionMode
    selected_agents: list[str]
    provider: str | None = None
    metadata: dict[str, str] | None = None
    job_type: str
    trigger_source: str | None = None
    priority: int
    progress: float = Field(ge=0, le=1, description="Mean of the agents.")
    items_done: int
    items_failed: int
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    active_time: int = Field(description="Milliseconds.")
    queue_time: int | None = Field(default=None, description="Milliseconds.")
    total_execution_time: int | None = Field(default=None, description="Milliseconds.")
    stuck: bool
    archived: bool
    error: str | None = None
    code: str | None = None
    usage: Usage | None = None
    last_event_id: int
    actions: dict[str, Action]
    agents: list[AgentEntry]


class TaskSnapshot(TaskEntry):
    """Everything about a task, folded up to `lastEventId`."""

    inputs: dict[str, Any] | None = None
    options: dict[str, Any] | None = None
    agents: list[AgentSnapshot]  # type: ignore[assignment] # an agent with more in it


class TaskList(Model):
    """A page of tasks, newest first."""

    tasks: list[TaskEntry]
    next_cursor: str | None = None


class Accepted(Model):
    """A task that was stored."""

    task_id: str
    stream_url: str
    status: TaskStatus


class Controlled(Model):
    """A task after a control."""

    task_id: str
    status: TaskStatus


class EventPage(Model):
    """A page of a log."""

    task_id: str
    events: list[dict[str, Any]] = Field(description="See `Event`.")
    last_event_id: int


class ArtifactEntry(ArtifactInfo):
    """A file of an agent and where it is."""

    model_config = ConfigDict(extra="allow")

    agent_role: str
    url: str


class ArtifactList(Model):
    """All files of a task."""

    artifacts: list[ArtifactEntry]


class Shares(Model):
    """Whom a task is shared with."""

    task_id: str
    subjects: list[str] | Literal["everyone"]


class StreamTicket(Model):
    """A ticket for one stream."""

    ticket: str
    expires_at: str


class ListedAgent(AgentInfo):
    """An agent that can be selected."""

    model_config = ConfigDict(extra="allow")

    kind: str
    available: bool
    unavailable_reason: str | None = None


class AgentList(Model):
    """Who can be selected, and how."""

    agents: list[ListedAgent]
    execution_modes: list[str]
    providers: list[dict[str, Any]]


class RunnerStatus(Model):
    """How the worker loop is."""

    is_running: bool
    state: Literal["running", "draining", "stopped"]
    running_tasks: int
    queued_tasks: int
    slots: int
    since: str
    last_error: str | None = None
    message: str | None = None


class RunnerLine(Model):
    """A line of the worker's log."""

    timestamp: str
    thread: int = Field(description="0 is the loop, 1 … its slots.")
    message: str
    type: Literal["info", "success", "warning", "error"]


class RunnerLines(Model):
    """The worker's log."""

    logs: list[RunnerLine]
    is_running: bool


class Message(Model):
    """What was done."""

    message: str


class Health(Model):
    """Whether the server is well."""

    status: Literal["ok", "unavailable"]
    checks: dict[str, str] | None = None
