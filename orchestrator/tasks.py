"""Tasks: what can be asked for, the states they pass through, and who may move them where."""

from __future__ import annotations

import graphlib
import hashlib
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from orchestrator.plans import Plan


class TaskStatus(StrEnum):
    """The states of a task."""

    QUEUED = "queued"  # waits for a worker
    RUNNING = "running"  # a run owns it
    PAUSING = "pausing"  # a run owns it and stops at the next agent boundary
    PAUSED = "paused"  # waits for its owner to resume it
    WAITING = "waiting"  # waits for an answer
    CANCELLING = "cancelling"  # a run owns it and is stopping its agents
    COMPLETED = "completed"  # at least one agent delivered
    FAILED = "failed"  # ended with a reason
    TIMED_OUT = "timed_out"  # used up its active time
    CANCELLED = "cancelled"  # ended because somebody asked


MOVES: dict[TaskStatus, frozenset[TaskStatus]] = {
    status: frozenset(TaskStatus(name) for name in names.split())
    for status, names in {
        TaskStatus.QUEUED: "running paused cancelled",
        TaskStatus.RUNNING: "completed failed timed_out pausing waiting cancelling queued",
        TaskStatus.PAUSING: "running paused completed failed timed_out cancelling",
        TaskStatus.PAUSED: "queued cancelled",
        TaskStatus.WAITING: "running queued paused cancelled",
        TaskStatus.CANCELLING: "cancelled",
        TaskStatus.COMPLETED: "queued",  # by retry, when agents failed
        TaskStatus.FAILED: "queued",  # by retry
        TaskStatus.TIMED_OUT: "queued",  # by retry
        TaskStatus.CANCELLED: "queued",  # by retry
    }.items()
}
"""Every legal move; each is a compare-and-set in the transaction that writes its event."""

END_STATES = frozenset(
    {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.TIMED_OUT, TaskStatus.CANCELLED}
)
OWNED_STATES = frozenset({TaskStatus.RUNNING, TaskStatus.PAUSING, TaskStatus.CANCELLING})
"""States in which a run holds the task."""


class AgentStatus(StrEnum):
    """The states of an agent within a task."""

    PENDING = "pending"  # has not started
    RUNNING = "running"  # an attempt is under way
    WAITING = "waiting"  # an attempt waits for an answer
    COMPLETED = "completed"  # delivered
    ERROR = "error"  # its last attempt failed
    CANCELLED = "cancelled"  # its last attempt was stopped
    SKIPPED = "skipped"  # the task ended before it could start


EVENT_TO_AGENT_STATUS = {
    "success": AgentStatus.COMPLETED,
    "error": AgentStatus.ERROR,
    "timeout": AgentStatus.ERROR,
    "cancelled": AgentStatus.CANCELLED,
}
"""``status`` of `agent_complete` and `agent_error` → status of the agent."""

ExecutionMode = Literal["sequential", "parallel", "graph"]

Role = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
"""A role names an agent in URLs, file names and logs, hence the short alphabet."""

_METADATA_KEY = re.compile(r'[^\x00"\\]{1,64}')
_NO_NUL = r"^[^\x00]*$"  # PostgreSQL stores none
_Text = Annotated[str, StringConstraints(min_length=1, pattern=_NO_NUL)]
_Label = Annotated[str, StringConstraints(max_length=512, pattern=_NO_NUL)]


class Budget(BaseModel):
    """Upper bounds for a whole task; the first that is reached ends it (`budget_exhausted`)."""

    model_config = ConfigDict(
        extra="forbid", alias_generator=to_camel, validate_by_name=True, strict=True
    )

    tokens: int | None = Field(default=None, gt=0, lt=2**53)
    cost_usd: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    seconds: float | None = Field(default=None, gt=0, allow_inf_nan=False)


class TaskRequest(BaseModel):
    """What a client asks for: the body of every submit route.

    An absent value and null mean the same. Unknown fields are refused, so that a misspelt option
    is never silently ignored.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        alias_generator=to_camel,
        validate_by_name=True,
        strict=True,
    )

    description: Annotated[_Text, StringConstraints(max_length=200_000)]
    title: Annotated[_Text, StringConstraints(max_length=200)] | None = None
    selected_agents: list[Role] = Field(min_length=1, max_length=50)
    execution_mode: ExecutionMode | None = None
    provider: Annotated[_Text, StringConstraints(max_length=100)] | None = None
    inputs: dict[str, Any] | None = None
    on_agent_error: Literal["stop", "continue"] | None = None
    timeout_seconds: float | None = Field(default=None, gt=0, le=31_536_000, allow_inf_nan=False)
    max_parallel: int | None = Field(default=None, ge=1, le=50)
    priority: int | None = Field(default=None, ge=-10, le=10)
    on_restart: Literal["resume", "fail"] | None = None
    depends_on: dict[Role, list[Role]] | None = None
    after: list[str] | None = Field(default=None, max_length=100)
    budget: Budget | None = None
    metadata: dict[_Label, _Label] | None = Field(default=None, max_length=16)
    job_type: Literal["manual", "scheduled", "api"] | None = None
    trigger_source: Annotated[_Text, StringConstraints(max_length=100)] | None = None

    @model_validator(mode="after")
    def _check(self) -> TaskRequest:
        roles = self.selected_agents
        if len(set(roles)) != len(roles):
            raise PydanticCustomError(
                "selected_agents_unique", "selectedAgents must not name an agent twice"
            )
        if self.depends_on is not None:
            self._check_graph(set(roles))
        if self.metadata is not None and not all(map(_METADATA_KEY.fullmatch, self.metadata)):
            raise PydanticCustomError(
                "metadata_key",
                "keys of metadata have 1 to 64 characters, none of them a quote or a backslash",
            )
        return self

    def _check_graph(self, roles: set[str]) -> None:
        depends_on = self.depends_on or {}
        if self.execution_mode != "graph":
            raise PydanticCustomError(
                "depends_on_mode", 'dependsOn belongs to executionMode "graph"'
            )
        named = set(depends_on).union(*depends_on.values())
        if unknown := sorted(named - roles):
            raise PydanticCustomError(
                "depends_on_unknown",
                "dependsOn names an agent that is not selected: {role}",
                {"role": unknown[0]},
            )
        try:
            graphlib.TopologicalSorter(depends_on).prepare()
        except graphlib.CycleError as error:
            raise PydanticCustomError(
                "depends_on_cycle",
                "dependsOn goes in a circle: {circle}",
                {"circle": " → ".join(error.args[1])},
            ) from None

    @property
    def mode(self) -> ExecutionMode:
        """The execution mode with its default."""
        return self.execution_mode or "sequential"

    @property
    def plan(self) -> Plan:
        """The order in which its agents may start."""
        roles, mode, on_error = tuple(self.selected_agents), self.mode, self.on_agent_error
        most = 1 if mode == "sequential" else min(len(roles), self.max_parallel or len(roles))
        stops = mode != "parallel" if on_error is None else on_error == "stop"
        return Plan(roles, most, stops, self.depends_on or {})

    @property
    def shown_title(self) -> str:
        """The title, else the first line of the description, cut at 80 characters."""
        if self.title is not None:
            return self.title
        line = self.description.strip().splitlines()
        return (line[0].strip() if line else self.description)[:80]

    def to_json(self) -> str:
        """The request as it is stored, absent values left out."""
        # What `model_dump_json` calls, without the dozen options it passes on each time.
        text = self.__pydantic_serializer__.to_json(self, by_alias=True, exclude_none=True)
        return text.decode()


def body_hash(body: Any) -> str:
    """SHA-256 of a request body's canonical JSON as sent, in hex.

    Keys are sorted and no defaults filled in, so a client that serialises the same request again
    in another order still repeats the same request.
    """
    canonical = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()


def request_hash(request: TaskRequest) -> str:
    """`body_hash` of a request that was made in Python."""
    return body_hash(orjson.loads(request.to_json()))


def rounded_ms(seconds: float) -> int:
    """Seconds as whole milliseconds, never negative."""
    return int(seconds * 1000 + 0.5) if seconds > 0 else 0
