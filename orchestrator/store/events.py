"""The event log: append, read a page, read the end.

A number is given once, by the transaction that stores the event; a rollback takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlmodel import Session

from orchestrator.errors import AppendRefused
from orchestrator.events import Draft, encode, framed
from orchestrator.store.database import Connection
from orchestrator.store.heads import Heads

PAGE_ROWS = 512  # a read transaction is over in about a millisecond
PAGE_BYTES = 8 * 1024 * 1024  # a page is held in memory
FETCH_ROWS = 64  # fetched at a time: events may be large


class StoredEvent(NamedTuple):
    """One event of a log."""

    seq: int
    type: str
    data: str
    """Its JSON text."""


class RunKey(NamedTuple):
    """What a run writes with: the epoch it was claimed with is checked by every write."""

    id: int
    """`task.id`."""
    task_id: str
    epoch: int


Change = Callable[[Connection, RunKey], None]
"""A change of other rows in the transaction of an event."""


class Appended(NamedTuple):
    """What a transaction added to a log."""

    id: int
    events: list[StoredEvent]
    status: str
    """The task's status after it."""


class Account(NamedTuple):
    """What a task's row tells of its run, when it is brought up to date."""

    log_bytes: int
    """By how much the log has grown since the row was brought up to date."""
    active_ms: int
    """How long the task has been active so far."""


_ACCOUNT = "UPDATE task SET log_bytes = log_bytes + ?, active_ms = ?, updated = ? WHERE id = ?"
_GOES_ON = "UPDATE task SET recoveries = 0 WHERE id = ? AND recoveries <> 0"


def append(
    connection: Connection, run: RunKey, drafts: Sequence[Draft], *, heads: Heads, now: int,
    account: Account | None = None, changes: Sequence[Change] = (),
) -> Appended | AppendRefused:  # fmt: skip
    """Append a run's events; refused when another epoch owns the task or its status forbids it.

    Args:
        connection: The writer's.
        run: Whose events they are.
        drafts: In order.
        heads: Where logs end.
        now: Milliseconds since 1970.
        account: Brings the task's row up to date; without one only the log grows.
        changes: What else belongs into this transaction.
    """
    head = heads.of(connection, run.id, run.epoch)
    if head is None:
        return refusal(connection, run)
    last_seq = head.last_seq + len(drafts)
    events = number(run.task_id, drafts, last_seq=last_seq)
    insert(connection, run.id, events)
    for change in changes:
        change(connection, run)
    if changes and _goes_on(drafts):
        connection.execute(_GOES_ON, (run.id,))
    if account is not None:
        added = account.log_bytes + length(events)
        connection.execute(_ACCOUNT, (added, account.active_ms, now, run.id))
    heads.moved(connection, run.id, head, last_seq)
    return Appended(run.id, events, head.status)


def length(events: Sequence[StoredEvent]) -> int:
    """How many bytes of a log these are."""
    size = 0
    for event in events:
        size += len(event.data)
    return size


def _goes_on(drafts: Sequence[Draft]) -> bool:
    """Whether an agent ended, which proves that the task can go on; see `task.recoveries`."""
    return any(
        draft.type == "agent_complete"
        or (draft.type == "agent_error" and draft.fields["status"] != "cancelled")
        for draft in drafts
    )


_INSERT = "INSERT INTO event (task, seq, type, data) VALUES (?, ?, ?, ?)"
_INSERTS = [_INSERT + ", (?, ?, ?, ?)" * more for more in range(8)]  # by length; most are short


def insert(connection: Connection, id: int, events: Sequence[StoredEvent]) -> None:
    """Store events that have their numbers."""
    if len(events) == 1:
        connection.execute(_INSERT, (id, *events[0]))
    elif len(events) > len(_INSERTS):
        connection.executemany(_INSERT, [(id, e.seq, e.type, e.data) for e in events])
    elif events:
        values = [value for event in events for value in (id, *event)]
        connection.execute(_INSERTS[len(events) - 1], values)


_stored = partial(tuple.__new__, StoredEvent)  # the class itself takes four times as long


def number(task_id: str, drafts: Sequence[Draft], *, last_seq: int) -> list[StoredEvent]:
    """Give drafts the numbers that end with `last_seq`, as the transaction counts them."""
    first = last_seq - len(drafts) + 1
    return [
        _stored((seq, draft.type, encode(task_id, seq, draft)))
        for seq, draft in enumerate(drafts, first)
    ]


def last_seq(connection: Connection, id: int) -> int:
    """Where the log of a task ends, by its `task.id`."""
    query = "SELECT max(seq) FROM event WHERE task = ?"
    last: int = connection.execute(query, (id,)).fetchone()[0]
    return last


def refusal(connection: Connection, run: RunKey) -> AppendRefused:
    """Why a run's write was refused: another epoch, or another status."""
    row = connection.execute("SELECT epoch, status FROM task WHERE id = ?", (run.id,)).fetchone()
    return AppendRefused(None if row is None or row[0] != run.epoch else row[1])


_PAGE = "SELECT seq, type, data FROM event WHERE task = ? AND seq > ? ORDER BY seq LIMIT ?"


def page(
    session: Session,
    id: int,
    *,
    after: int,
    limit: int = PAGE_ROWS,
    max_bytes: int = PAGE_BYTES,
) -> list[StoredEvent]:
    """Events in order.

    Args:
        session: A read transaction.
        id: `task.id`.
        after: Exclusive.
        limit: At most so many.
        max_bytes: End before the event that exceeds this, unless it is the first.
    """
    # The driver's rows: SQLAlchemy's cost more to make than everything else on this way.
    driver: Any = session.connection().connection
    rows = _rows(driver, id, after=after, limit=limit, max_bytes=max_bytes)
    return list(map(StoredEvent._make, rows))


class FramePage(NamedTuple):
    """A page of a log as it is sent."""

    frames: bytes
    first: int
    """Number of the first event."""
    last: int
    length: int
    """How many events; `last - first + 1` unless the log has a gap."""


def frame_page(connection: Connection, id: int, *, after: int, max_bytes: int) -> FramePage | None:
    """A page of at most `PAGE_ROWS` events as frames; None when there is none.

    Args:
        connection: In a read transaction.
        id: `task.id`.
        after: Exclusive.
        max_bytes: End before the event that exceeds this, unless it is the first.
    """
    rows = _rows(connection, id, after=after, limit=PAGE_ROWS, max_bytes=max_bytes)
    if not rows:
        return None
    return FramePage(framed(rows), rows[0][0], rows[-1][0], len(rows))


def _rows(
    connection: Connection, id: int, *, after: int, limit: int, max_bytes: int
) -> list[tuple[int, str, str]]:
    cursor = connection.execute(_PAGE, (id, after, limit))
    rows: list[tuple[int, str, str]] = []
    size = 0
    while size <= max_bytes and (some := cursor.fetchmany(FETCH_ROWS)):
        rows += some
        size += sum([len(data) for _, _, data in some])
    while size > max_bytes and len(rows) > 1:
        size -= len(rows.pop()[2])
    return rows


def read_all(session: Session, id: int) -> Iterator[StoredEvent]:
    """All events of a log in order, read page by page in one read transaction."""
    after = 0
    while events := page(session, id, after=after):
        yield from events
        after = events[-1].seq
