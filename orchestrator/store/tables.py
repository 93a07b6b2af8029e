"""The tables, alike on SQLite and PostgreSQL.

SQLModel declares them here, feeds the migrations and reads; it never writes. Statuses are plain
text, times are milliseconds since 1970 UTC, and an event is kept as the JSON text it was sent as,
so that a replay gives the same bytes.
"""

from __future__ import annotations

from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    text,
)  # fmt: skip
from sqlalchemy.orm import column_property
from sqlmodel import Field, SQLModel, func, select

BIG_KEY = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers only INTEGER keys itself

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


_UNFINISHED = text("ended IS NULL")
_KEYED = text("idempotency_key IS NOT NULL")


class _Table(SQLModel):
    metadata = metadata


def _big(default: int | None = 0) -> Any:
    if default is None:
        return Column(BigInteger, nullable=True)
    return Column(BigInteger, nullable=False, server_default=text(str(default)))


def _small(default: int = 0) -> Any:
    return Column(Integer, nullable=False, server_default=text(str(default)))


class Task(_Table, table=True):
    """One submitted task. `id` is for joins; `task_id` is what the world knows."""

    __tablename__ = "task"
    __table_args__ = (
        Index(
            "uq_task_owner_idempotency_key",
            "owner",
            "idempotency_key",
            unique=True,
            sqlite_where=_KEYED,
            postgresql_where=_KEYED,
        ),
        Index("ix_task_owner", "owner"),  # lists: SQLite keeps the entries of one owner by id
        # Only unfinished tasks: counted for quotas, read whole at each start.
        Index(
            "ix_task_unfinished", "owner", sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
        ),
    )

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True))
    task_id: str = Field(sa_column=Column(String(36), nullable=False, unique=True))
    owner: str = Field(sa_column=Column(String(255), nullable=False))
    title: str = Field(sa_column=Column(Text, nullable=False))
    description: str = Field(sa_column=Column(Text, nullable=False))
    request: str = Field(sa_column=Column(Text, nullable=False))
    agents: str = Field(sa_column=Column(Text, nullable=False))
    labels: dict[str, str] = Field(
        sa_column=Column("metadata", JSON, nullable=False, server_default=text("'{}'"))
    )
    job_type: str = Field(sa_column=Column(String(16), nullable=False))
    trigger_source: str | None = Field(sa_column=Column(Text))
    priority: int = Field(sa_column=_small())
    status: str = Field(sa_column=Column(String(16), nullable=False))
    round: int = Field(sa_column=_small(1))
    epoch: int = Field(sa_column=_small())
    node: str | None = Field(sa_column=Column(String(64)))
    log_bytes: int = Field(sa_column=_big())
    """Of a task that runs: as of its last milestone, and never much longer than a second ago."""
    active_ms: int = Field(sa_column=_big())
    """As `log_bytes`."""
    cancel_deadline: int | None = Field(sa_column=_big(None))
    requested_by: str | None = Field(sa_column=Column(String(255)))
    """Who used `control`."""
    recoveries: int = Field(sa_column=_small())
    idempotency_key: str | None = Field(sa_column=Column(String(255)))
    body_hash: str | None = Field(sa_column=Column(String(64)))
    error: str | None = Field(sa_column=Column(Text))
    code: str | None = Field(sa_column=Column(String(64)))
    usage: str | None = Field(sa_column=Column(Text))
    agents_completed: int = Field(sa_column=_small())
    agents_failed: int = Field(sa_column=_small())
    created: int = Field(sa_column=Column(BigInteger, nullable=False))
    queued: int = Field(sa_column=Column(BigInteger, nullable=False))
    queue_ms: int = Field(sa_column=_big())
    started: int | None = Field(sa_column=_big(None))
    ended: int | None = Field(sa_column=_big(None))
    updated: int = Field(sa_column=Column(BigInteger, nullable=False))
    archived: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    deleted: int | None = Field(sa_column=_big(None))
    control: str | None = Field(sa_column=Column(String(16)))
    """The control that was used last, see `orchestrator.controls`."""
    turned: int = Field(sa_column=_big())
    """Number of its last event that is a terminal event or a `task_state`."""
    last_seq: ClassVar[Any]
    """Number of its last event. No column: the log alone says where it ends."""


class Dependency(_Table, table=True):
    """A task that waits for another one; the row goes when that one completed."""

    __tablename__ = "dependency"

    task: int = Field(sa_column=Column(BIG_KEY, ForeignKey("task.id"), primary_key=True))
    after: int = Field(
        sa_column=Column(BIG_KEY, ForeignKey("task.id"), primary_key=True, index=True)
    )


class Share(_Table, table=True):
    """Somebody besides its owner who may read a task; an empty subject stands for everyone."""

    __tablename__ = "share"
    __table_args__ = ({"sqlite_with_rowid": False},)

    task: int = Field(sa_column=Column(BIG_KEY, ForeignKey("task.id"), primary_key=True))
    subject: str = Field(sa_column=Column(String(255), primary_key=True, index=True))


class AgentRun(_Table, table=True):
    """One attempt of one agent."""

    __tablename__ = "agent_run"
    # One tree instead of table and index: half the pages in every commit that starts an agent.
    __table_args__ = ({"sqlite_with_rowid": False},)

    task: int = Field(sa_column=Column(BIG_KEY, ForeignKey("task.id"), primary_key=True))
    role: str = Field(sa_column=Column(String(64), primary_key=True))
    attempt: int = Field(sa_column=Column(Integer, primary_key=True))
    status: str = Field(sa_column=Column(String(16), nullable=False))
    output: str | None = Field(sa_column=Column(Text))
    error: str | None = Field(sa_column=Column(Text))
    code: str | None = Field(sa_column=Column(String(64)))
    usage: str | None = Field(sa_column=Column(Text))
    checkpoint: str | None = Field(sa_column=Column(Text))
    process_group: int | None = Field(sa_column=Column(Integer))
    process_started: int | None = Field(sa_column=_big(None))
    started: int = Field(sa_column=Column(BigInteger, nullable=False))
    ended: int | None = Field(sa_column=_big(None))
    execution_ms: int | None = Field(sa_column=_big(None))
    will_retry: bool = Field(
        sa_column=Column(Boolean, nullable=False, server_default=text("false"))
    )
    """Whether another attempt follows, as long as the task has not ended."""


class EventRow(_Table, table=True):
    """One event of a log. Rows are appended, the index finds them: see performance in DECISIONS."""

    __tablename__ = "event"
    __table_args__ = (Index("ix_event_task_seq", "task", "seq", unique=True),)

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True))
    task: int = Field(sa_column=Column(BIG_KEY, ForeignKey("task.id"), nullable=False))
    seq: int = Field(sa_column=Column(BigInteger, nullable=False))
    type: str = Field(sa_column=Column(String(32), nullable=False))
    data: str = Field(sa_column=Column(Text, nullable=False))


Task.last_seq = column_property(
    select(func.max(EventRow.seq))
    .where(EventRow.task == Task.id)
    .correlate_except(EventRow)
    .scalar_subquery()
)


class Artifact(_Table, table=True):
    """A file an agent made; visible once the event that names it is stored."""

    __tablename__ = "artifact"
    __table_args__ = (Index("ix_artifact_task_role_name", "task", "role", "name"),)

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True))
    task: int = Field(sa_column=Column(BIG_KEY, ForeignKey("task.id"), nullable=False))
    role: str = Field(sa_column=Column(String(64), nullable=False))
    name: str = Field(sa_column=Column(Text, nullable=False))
    attempt: int = Field(sa_column=Column(Integer, nullable=False))
    media_type: str = Field(sa_column=Column(Text, nullable=False))
    size: int = Field(sa_column=Column(BigInteger, nullable=False))
    visible: bool = Field(sa_column=Column(Boolean, nullable=False, server_default=text("false")))
    created: int = Field(sa_column=Column(BigInteger, nullable=False))


class ArtifactPiece(_Table, table=True):
    """At most 256 KiB of an artifact; small pieces keep the writer's transactions short."""

    __tablename__ = "artifact_piece"

    artifact: int = Field(sa_column=Column(BIG_KEY, ForeignKey("artifact.id"), primary_key=True))
    number: int = Field(sa_column=Column(Integer, primary_key=True))
    data: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class SigningKey(_Table, table=True):
    """A secret this installation signs with."""

    __tablename__ = "signing_key"

    name: str = Field(sa_column=Column(String(64), primary_key=True))
    value: bytes = Field(sa_column=Column(LargeBinary, nullable=False))


class RunnerLine(_Table, table=True):
    """A line of the worker's log."""

    __tablename__ = "runner_log"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True))
    at: int = Field(sa_column=Column(BigInteger, nullable=False))
    thread: int = Field(sa_column=Column(Integer, nullable=False))
    type: str = Field(sa_column=Column(String(8), nullable=False))
    words: str = Field(sa_column=Column(Text, nullable=False))
    task_id: str | None = Field(sa_column=Column(String(36)))
    title: str | None = Field(sa_column=Column(Text))
    owner: str | None = Field(sa_column=Column(String(255)))


class Software(_Table, table=True):
    """With what a node runs, from a time on."""

    __tablename__ = "software"

    id: int = Field(sa_column=Column(BIG_KEY, primary_key=True))
    node: str = Field(sa_column=Column(String(64), nullable=False))
    since: int = Field(sa_column=Column(BigInteger, nullable=False))
    version: str = Field(sa_column=Column(String(64), nullable=False))
    python: str = Field(sa_column=Column(String(64), nullable=False))
    platform: str = Field(sa_column=Column(Text, nullable=False))


class Node(_Table, table=True):
    """A process that writes here; `batch` counts its transactions that stored no event.

    After an I/O error it tells each from the one before.
    """

    __tablename__ = "node"

    id: str = Field(sa_column=Column(String(64), primary_key=True))
    batch: int = Field(sa_column=_big())
    started: int = Field(sa_column=Column(BigInteger, nullable=False))
    runner_stopped: int | None = Field(sa_column=_big(None))
    """Since when the worker loop is to stand still; a restart does not change it."""
