"""The bodies of requests that are not about a new task, and what must be true of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from api import subjects
from api.validation import UNION

MAX_SUBJECTS = 100  # more are a group, which is what `everyone` or a claim of the issuer is for


class Body(BaseModel):
    """Base of the bodies: strict, in the names of the wire, unknown fields refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, strict=True
    )


def _check_subject(subject: str) -> str:
    if not subjects.is_subject(subject):
        raise PydanticCustomError(
            "subject",
            "must be 1 to {most} visible characters without blanks around them",
            {"most": subjects.MAX_CHARACTERS},
        )
    return subject


def _kind(value: Any) -> str:
    return f"{UNION}everyone" if isinstance(value, str) else f"{UNION}subjects"


Subject = Annotated[
    str, AfterValidator(_check_subject), Field(min_length=1, max_length=subjects.MAX_CHARACTERS)
]


class ShareRequest(Body):
    """Whom a task is shared with; replaces what was before."""

    subjects: Annotated[
        Annotated[list[Subject], Field(max_length=MAX_SUBJECTS), Tag(f"{UNION}subjects")]
        | Annotated[Literal["everyone"], Tag(f"{UNION}everyone")],
        Discriminator(_kind),
    ] = Field(description="`sub` of everybody who may read it, or `everyone`; empty for nobody.")


class CleanupRequest(Body):
    """What is done to finished tasks, and to which."""

    mode: Literal["archive", "delete"]
    older_than_days: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)
    all_owners: bool = False


class ResetRequest(Body):
    """What becomes of tasks whose run is gone."""

    action: Literal["fail", "resume"] = "fail"
    older_than_seconds: float = Field(default=0, ge=0, le=1e9, allow_inf_nan=False)
    dry_run: bool = False


class OldBody(Body):
    """Base of the bodies of old routes: in snake_case."""

    model_config = ConfigDict(alias_generator=None)


class LegacyStart(OldBody):
    """What to run: `preferences` are the inputs of a task."""

    preferences: dict[str, Any] | None = None
    selected_agents: Annotated[list[str], Field(min_length=1)] | None = None
    description: str | None = None
    title: str | None = None
    job_type: str | None = None
    trigger_source: str | None = None


class LegacyStop(OldBody):
    """Which task to cancel; without it the newest one that has not ended."""

    task_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class LegacyCleanup(OldBody):
    """How old a finished task may be."""

    days_to_keep: float | None = Field(default=None, ge=0, le=100_000, allow_inf_nan=False)


class TicketRequest(Body):
    """What a ticket shall open: the stream of a task, or the log of the worker loop."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {
                    "properties": {"taskId": {"type": "string"}, "runnerLog": {"type": "null"}},
                    "required": ["taskId"],
                },
                {
                    "properties": {"runnerLog": {"const": True}, "taskId": {"type": "null"}},
                    "required": ["runnerLog"],
                },
            ]
        }
    )

    task_id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    runner_log: Literal[True] | None = None

    @model_validator(mode="after")
    def _check(self) -> TicketRequest:
        if (self.task_id is None) == (self.runner_log is None):
            raise PydanticCustomError("ticket_one", "give either taskId or runnerLog")
        return self
