"""The JSON of answers about jobs, as models; see `api.answers`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from api.answers import Model
from orchestrator.events import Usage
from orchestrator.tasks import AgentStatus, TaskStatus


class ExecutionSummary(Model):
    """What came of a job."""

    status: TaskStatus
    agents_completed: int
    agents_failed: int
    outputs: int = Field(description="How many agents delivered.")
    error: str | None = None


class PhaseResult(Model):
    """What came of one agent of a job."""

    phase_id: str = Field(description="Its role.")
    status: AgentStatus
    attempts: int
    execution_time: int = Field(description="Milliseconds, all attempts together.")
    error: str | None = None


class PerformanceMetrics(Model):
    """What a job took."""

    queue_time: int = Field(description="Milliseconds.")
    total_execution_time: int = Field(description="Milliseconds of active time.")
    events: int
    usage: Usage | None = None


class SystemInfo(Model):
    """With what a job ran."""

    version: str
    python: str
    platform: str
    node: str


class Job(Model):
    """A task as a job of the history."""

    task_id: str
    title: str
    status: TaskStatus
    job_type: str
    trigger_source: str | None = None
    archived: bool
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    execution_summary: ExecutionSummary
    phase_results: list[PhaseResult]
    performance_metrics: PerformanceMetrics
    user_preferences: dict[str, Any] = Field(description="Inputs and options as sent.")
    system_info: SystemInfo | None = None


class JobHistory(Model):
    """A page of the history, newest first."""

    jobs: list[Job]
    total_count: int
    limit: int
    offset: int


class Figures(Model):
    """Counts, rates, times and costs of some tasks, or of the attempts of an agent."""

    count: int
    completed: int
    failed: int
    cancelled: int
    timed_out: int
    unfinished: int
    failures: dict[str, int] = Field(description="How many by code.")
    success_rate: float | None = Field(default=None, description="Of those not cancelled.")
    median_time: int | None = Field(default=None, description="Milliseconds.")
    p95_time: int | None = Field(default=None, description="Milliseconds.")
    input_tokens: int
    output_tokens: int
    cost_usd: float


class GroupFigures(Figures):
    """The figures of one group."""

    group: str = Field(description="A role, a day (UTC) or a job type.")


class JobStats(Model):
    """Figures of the tasks created in the last days."""

    days: int
    group_by: Literal["agent", "day", "jobType"]
    from_: str = Field(alias="from")
    total: Figures
    groups: list[GroupFigures]


class CleanedUp(Model):
    """What a cleanup did."""

    archived: int
    deleted: int


class ResetTask(Model):
    """A task whose run was gone."""

    task_id: str
    title: str
    from_: TaskStatus = Field(alias="from")
    to: TaskStatus


class ResetState(Model):
    """What a reset did."""

    reset: list[ResetTask]
    skipped: int = Field(description="Tasks that live, or are too young.")
