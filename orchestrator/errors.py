"""Every error this package raises, in one tree.

    PoststreamError
    ├── AgentError               an agent says why it failed
    │   └── OutputLimitExceeded  it wrote more than it may
    ├── AttemptClosed            a handle was used after its attempt had ended
    ├── CallbackFailed           the caller's ProgressCallback raised
    ├── CatalogError             agents.toml cannot be used as it is
    ├── SettingsError            a setting has a value that cannot be used
    ├── InvalidRequest           a request that can never be executed
    ├── TaskNotFound             no such task, or not one of this owner's
    ├── TaskConflict             the task's state forbids the call
    ├── CursorBeyondEnd          a cursor past the end of the log
    ├── IdempotencyMismatch      the key was used with another body
    ├── UnknownIdempotencyKey    a cursor came with a key that names no task
    ├── LimitExceeded            an owner has as much of something as one may have
    ├── Overloaded               everybody together has as much of something as there may be
    ├── Draining                 the process takes no new tasks any more
    ├── AlreadyRunning           the worker loop was to start and runs
    ├── AppendRefused            the log does not take this run's events any more
    └── StorageError             the database could not do it
        ├── StorageFull          no room left
        ├── StorageCorrupt       the file is damaged; it was not touched
        └── StorageLocked        another process works on this database

The text of an error is written for the person who meets it: what is wrong, and what to do.
"""

from __future__ import annotations

from typing import NamedTuple


class PoststreamError(Exception):
    """Base of everything below; catch it to catch what this package raises on purpose."""


class AgentError(PoststreamError):
    """Raised by an agent to fail with words of its own, which clients then read.

    Any other exception of an agent is shown as its class name and a reference to the log.

    Args:
        message: What went wrong, for the person who reads the card of this agent.
        code: A stable word for programs, e.g. ``rate_limited``.
        retryable: Whether another attempt may succeed; see ``max_attempts`` in agents.toml.
    """

    def __init__(
        self, message: str, *, code: str = "agent_failed", retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.retryable = retryable


class OutputLimitExceeded(AgentError):
    """Raised when an agent or its task has written more than the settings allow."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code="output_limit")


class AttemptClosed(PoststreamError):
    """Raised by every call on a context or handle whose attempt has already ended."""


class CallbackFailed(PoststreamError):
    """Raised in the run when the caller's ProgressCallback raised; the cause is chained."""


class CatalogError(PoststreamError):
    """Raised when agents.toml is wrong; the text names file, table and key."""


class SettingsError(PoststreamError):
    """Raised when a setting has a value that cannot be used; the text names the setting."""


class FieldError(NamedTuple):
    """One field that is wrong."""

    pointer: str
    """JSON pointer into the request body, e.g. ``/selectedAgents/0``."""
    detail: str
    """What is wrong with it and what would be right."""


class InvalidRequest(PoststreamError):
    """Raised when a request can never be executed as it is.

    Args:
        errors: What is wrong, field by field; at least one entry.
    """

    def __init__(self, *errors: FieldError) -> None:
        super().__init__("; ".join(f"{e.pointer or '/'}: {e.detail}" for e in errors))
        self.errors = errors


class TaskNotFound(PoststreamError):
    """Raised when there is no such task, exactly alike when it belongs to somebody else."""

    def __init__(self, task_id: str) -> None:
        super().__init__("There is no such task.")
        self.task_id = task_id


class TaskConflict(PoststreamError):
    """Raised when the state of a task forbids the call; the text says why."""


class CursorBeyondEnd(PoststreamError):
    """Raised when a cursor lies beyond the end of the log it is meant for."""

    def __init__(self, after: int, last_seq: int) -> None:
        super().__init__(f"The cursor {after} lies beyond the last event of this task, {last_seq}.")
        self.last_seq = last_seq


class IdempotencyMismatch(PoststreamError):
    """Raised when an Idempotency-Key comes again with another body."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used before with another body. Use a new key.")


class UnknownIdempotencyKey(PoststreamError):
    """Raised when a cursor comes with an Idempotency-Key that names no task."""

    def __init__(self) -> None:
        super().__init__(
            "Last-Event-ID came with an Idempotency-Key that names no task; nothing was started."
        )


class LimitExceeded(PoststreamError):
    """Raised when an owner already has as many tasks or streams as the settings allow.

    Args:
        what: The limited thing in plain words, e.g. ``unfinished tasks``.
        limit: How many of it one owner may have.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"You already have {limit} {what}, which is the limit.")
        self.what = what
        self.limit = limit


class Overloaded(PoststreamError):
    """Raised when all owners together have as many tasks or streams as the settings allow.

    Args:
        what: The limited thing in plain words, e.g. ``queued tasks``.
        limit: How many of it there may be.
    """

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(
            f"The server has {limit} {what}, which is as many as it takes; try again shortly."
        )
        self.what = what
        self.limit = limit


class Draining(PoststreamError):
    """Raised for new tasks, and a start of the worker loop, while the process is shutting down."""

    def __init__(self) -> None:
        super().__init__("The server is shutting down and takes no new tasks; try again shortly.")


class AlreadyRunning(PoststreamError):
    """Raised when the worker loop is to start and runs."""

    def __init__(self) -> None:
        super().__init__("The worker loop runs already.")


class AppendRefused(PoststreamError):
    """Raised in a run when the log does not take its events any more.

    Args:
        status: The status the task has now, or None when another epoch owns it.
    """

    def __init__(self, status: str | None) -> None:
        super().__init__(
            "another run owns this task" if status is None else f"the task is {status}"
        )
        self.status = status


class StorageError(PoststreamError):
    """Raised when the database could not do what was asked; nothing of it was stored."""


class StorageFull(StorageError):
    """Raised when there is no room left for what was to be stored."""

    def __init__(self) -> None:
        super().__init__("There is no room left to store this. Nothing was started.")


class StorageCorrupt(StorageError):
    """Raised when the database file is damaged. It is left exactly as it was found."""


class StorageLocked(StorageError):
    """Raised when another process already works on this database.

    Args:
        message: Who holds it, and what to do.
        address: Where that process can be reached; empty when it cannot.
    """

    def __init__(self, message: str, *, address: str = "") -> None:
        super().__init__(message)
        self.address = address
