"""The typed events of a task: what a run reports, what the log keeps, what a stream carries.

Names and JSON shape are for ever; `tests/orchestrator/test_events.py` freezes them. The models
stand at the edges (callbacks, clients, schemas). On the way from an agent to the log an event is
a `Draft`: a type and a plain dict, because a model costs more than all the rest of that way.

An event has no number until the log's own transaction gives it one. There a draft is encoded with
it, and the bytes that are stored are the bytes that are sent, for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic.alias_generators import to_camel

from orchestrator.clock import Timestamps


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True
    )


class AgentInfo(_Model):
    """An agent as people see it."""

    agent_role: str = Field(description="The role, unique in a team; the same word everywhere.")
    agent_name: str = Field(description="Display name.")
    agent_description: str = Field(description="What it does, in a sentence.")


class Usage(_Model):
    """What a piece of work consumed."""

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cost_usd: float = Field(default=0.0, ge=0, allow_inf_nan=False, description="US dollars.")


class ArtifactInfo(_Model):
    """A file an agent made, without its content."""

    name: str
    media_type: str
    size: int = Field(ge=0, description="Bytes.")


class ToolCall(_Model):
    """A tool call of an agent."""

    call_id: str
    name: str
    state: Literal["started", "finished", "failed"]


class Question(_Model):
    """A question an agent puts to the task's owner."""

    question_id: str
    text: str
    options: list[str] | None = None


class _Event(_Model):
    task_id: str = Field(description="UUID v4 of the task.")
    seq: int | None = Field(default=None, ge=1, description="Number in the task's log: 1, 2, 3 …")
    timestamp: str = Field(description="When it was made; ISO 8601 UTC with milliseconds.")


class TaskCreated(_Event):
    """First event of every log."""

    type: Literal["task_created"] = "task_created"
    title: str
    selected_agents: list[str]
    execution_mode: Literal["sequential", "parallel", "graph"]
    agents: list[AgentInfo]
    estimated_seconds: float | None = None


class AgentStart(_Event):
    """An attempt begins; a new attempt withdraws the text of the earlier one."""

    type: Literal["agent_start"] = "agent_start"
    agent_role: str
    agent_name: str
    agent_description: str
    attempt: int = Field(ge=1)


class AgentProgress(_Event):
    """What an agent does meanwhile; at least one of the optional fields is there."""

    type: Literal["agent_progress"] = "agent_progress"
    agent_role: str
    attempt: int = Field(ge=1)
    message: str | None = Field(default=None, description="A status line.")
    progress: float | None = Field(default=None, ge=0, le=1)
    content: str | None = Field(default=None, description="A piece of the output text.")
    reasoning: str | None = Field(default=None, description="A piece, never part of the output.")
    tool: ToolCall | None = None
    question: Question | None = None
    items_done: int | None = Field(default=None, ge=0)
    items_total: int | None = Field(default=None, ge=0)
    items_failed: int | None = Field(default=None, ge=0)
    eta_seconds: float | None = Field(default=None, ge=0)
    artifact: ArtifactInfo | None = None


class AgentComplete(_Event):
    """An attempt delivered."""

    type: Literal["agent_complete"] = "agent_complete"
    agent_role: str
    attempt: int = Field(ge=1)
    status: Literal["success"] = "success"
    execution_time: int = Field(ge=0, description="Milliseconds of this attempt.")
    has_artifacts: bool
    artifacts: list[ArtifactInfo]
    output: Any = Field(default=None, description="The JSON result, up to 64 KiB.")
    output_truncated: bool | None = Field(default=None, description="True when it was larger.")
    usage: Usage | None = None


class AgentFailed(_Event):
    """An attempt ended without delivering (`agent_error` on the wire)."""

    type: Literal["agent_error"] = "agent_error"
    agent_role: str
    attempt: int = Field(ge=1)
    status: Literal["error", "timeout", "cancelled"]
    execution_time: int = Field(ge=0, description="Milliseconds of this attempt.")
    error: str
    code: str
    will_retry: bool


class TaskComplete(_Event):
    """The task delivered; the last event of this submit or retry."""

    type: Literal["task_complete"] = "task_complete"
    total_execution_time: int = Field(ge=0, description="Milliseconds of active time.")
    outputs: int = Field(ge=0, description="How many agents delivered.")
    failed_agents: list[str]
    usage: Usage | None = None


class TaskFailed(_Event):
    """The task ended without delivering (`task_error` on the wire)."""

    type: Literal["task_error"] = "task_error"
    status: Literal["failed", "cancelled", "timed_out"]
    error: str
    code: str
    total_execution_time: int = Field(ge=0, description="Milliseconds of active time.")
    requested_by: str | None = None
    not_stopped: list[str] | None = Field(default=None, description="Agents that run on.")


class TaskState(_Event):
    """The task moved to a status that is not its end."""

    type: Literal["task_state"] = "task_state"
    state: Literal["queued", "running", "pausing", "paused", "waiting", "cancelling"]
    reason: Literal[
        "recovered", "handed_back", "retry", "pause", "resume", "question", "answer", "cancel",
        "worker_stopped",
    ]  # fmt: skip
    requested_by: str | None = None
    done: list[str] | None = Field(default=None, description="Agents that are finished.")


Event = Annotated[
    TaskCreated | AgentStart | AgentProgress | AgentComplete | AgentFailed | TaskComplete
    | TaskFailed | TaskState,
    Field(discriminator="type"),
]  # fmt: skip

EVENT: TypeAdapter[Event] = TypeAdapter(Event)
"""Parses and describes any event: ``EVENT.validate_python(data)``, ``EVENT.json_schema()``."""

EVENT_TYPES = (
    "task_created", "agent_start", "agent_progress", "agent_complete", "agent_error",
    "task_complete", "task_error", "task_state",
)  # fmt: skip

TERMINAL_TYPES = frozenset({"task_complete", "task_error"})


class Draft:
    """An event that has no number yet.

    Args:
        type: One of `EVENT_TYPES`.
        fields: Its own fields under their wire names, without ``taskId``, ``seq``, ``timestamp``.
        at_ms: When it was made, milliseconds since 1970.
    """

    __slots__ = ("at_ms", "fields", "type")

    def __init__(self, type: str, fields: dict[str, Any], at_ms: int) -> None:
        self.type = type
        self.fields = fields
        self.at_ms = at_ms

    def __repr__(self) -> str:
        return f"Draft({self.type!r}, {self.fields!r})"


_timestamps = Timestamps()


def encode(task_id: str, seq: int, draft: Draft) -> str:
    """The JSON text of an event.

    Never fails on its data: what JSON cannot say is replaced.
    """
    return (
        f'{{"type":"{draft.type}","taskId":"{task_id}","seq":{seq},'
        f'"timestamp":"{_timestamps.text(draft.at_ms)}",{to_json(draft.fields)[1:]}'
    )


def to_json(value: Any) -> str:
    """Encode as one line of JSON.

    Lone surrogates become U+FFFD, numbers beyond 64 bits text, and those that are not finite null.
    U+2028, U+2029 and U+0085 are escaped: readers exist that take them for line ends.
    """
    try:
        data = orjson.dumps(value)
    except TypeError:
        data = orjson.dumps(cleaned(value))
    text = data.decode()
    if not text.isascii():
        text = text.translate(_LINE_ENDS)
    return text


_LINE_ENDS = {0x2028: "\\u2028", 0x2029: "\\u2029", 0x85: "\\u0085"}
_MIN_INTEGER, _MAX_INTEGER = -(2**63), 2**64 - 1


def cleaned(value: Any, depth: int = 0) -> Any:
    """A copy of a JSON-like value with everything JSON or a database cannot say replaced."""
    if isinstance(value, str):
        return value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int):
        return value if _MIN_INTEGER <= value <= _MAX_INTEGER else cleaned_number(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if depth >= 200:  # orjson refuses deeper nesting than 254
        return "…"
    if isinstance(value, dict):
        return {cleaned(str(k)): cleaned(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [cleaned(v, depth + 1) for v in value]
    return cleaned(str(value))


def cleaned_number(value: int) -> str:
    """An integer beyond 64 bits as text; Python refuses to print more than some 4,300 digits."""
    return hex(value) if value.bit_length() > 10_000 else str(value)


def parse(data: str | bytes) -> Event:
    """Parse the JSON text of an event into its model.

    Raises:
        pydantic.ValidationError: The text is no event.
    """
    return EVENT.validate_json(data)


def framed(events: Iterable[tuple[int, str, str]]) -> bytes:
    """The Server-Sent Events frames of stored events: the same bytes for every reader.

    Args:
        events: Number, type and JSON text of each.
    """
    texts = [f"id: {seq}\nevent: {type}\ndata: {data}\n\n" for seq, type, data in events]
    return "".join(texts).encode()
