"""Artifacts: files of agents, kept in pieces, visible with the event that names them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from functools import partial

from sqlmodel import Session, col, select

from orchestrator.errors import AppendRefused, AttemptClosed
from orchestrator.events import ArtifactInfo, Draft
from orchestrator.store import agent_runs, events
from orchestrator.store.database import Connection
from orchestrator.store.events import Account, Appended, RunKey
from orchestrator.store.heads import Heads
from orchestrator.store.tables import Artifact, ArtifactPiece
from orchestrator.store.writer import Writer

logger = logging.getLogger(__name__)

PIECE_BYTES = 256 * 1024  # one piece, one transaction: nobody waits long behind an upload


async def save(
    writer: Writer, run: RunKey, role: str, attempt: int, artifact: ArtifactInfo, content: bytes,
    *, now: int,
) -> int:  # fmt: skip
    """Store an artifact that nobody sees yet; returns its id for `show`."""
    new = partial(_insert, run=run, role=role, attempt=attempt, artifact=artifact, now=now)
    id = await writer.submit(new, waits=True)
    with discarding(writer, id):
        for index, start in enumerate(range(0, len(content), PIECE_BYTES)):
            piece = content[start : start + PIECE_BYTES]
            insert = partial(_insert_piece, id, index, piece)
            await writer.submit(insert, size=len(piece), waits=True)
    return id


@contextlib.contextmanager
def discarding(writer: Writer, artifact: int) -> Iterator[None]:
    """Remove an artifact that stays invisible, if this block is left before its end."""
    try:
        yield
    except (Exception, asyncio.CancelledError):  # also when the agent is stopped
        # Behind whatever is under way: if that makes it visible, it stays.
        writer.post(partial(_discard, artifact), _discarded, _not_discarded, waits=True)
        raise


def show(
    connection: Connection, artifact: int, run: RunKey, draft: Draft, *, heads: Heads,
    active_ms: int, now: int,
) -> Appended | AppendRefused | AttemptClosed:  # fmt: skip
    """Make an artifact visible with its event; an earlier one of that name goes.

    Refused with `AttemptClosed` when the attempt that saved it has ended meanwhile.
    """
    fields = draft.fields
    if not agent_runs.is_open(connection, run, fields["agentRole"], fields["attempt"]):
        return AttemptClosed(f"attempt {fields['attempt']} of {fields['agentRole']} has ended")
    account = Account(0, active_ms)
    appended = events.append(connection, run, [draft], heads=heads, now=now, account=account)
    if isinstance(appended, AppendRefused):
        return appended
    same = (
        "SELECT o.id FROM artifact o JOIN artifact n ON n.id = ? AND o.task = n.task"
        " AND o.role = n.role AND o.name = n.name AND o.id != n.id"
    )
    connection.execute(f"DELETE FROM artifact_piece WHERE artifact IN ({same})", (artifact,))
    connection.execute(f"DELETE FROM artifact WHERE id IN ({same})", (artifact,))
    connection.execute("UPDATE artifact SET visible = true WHERE id = ?", (artifact,))
    return appended


def remove_invisible(connection: Connection) -> None:
    """Remove what a crash left half stored; only at start, when nobody stores any."""
    connection.execute(
        "DELETE FROM artifact_piece WHERE artifact IN (SELECT id FROM artifact WHERE NOT visible)"
    )
    connection.execute("DELETE FROM artifact WHERE NOT visible")


def of_task(session: Session, id: int) -> list[Artifact]:
    """All visible artifacts of a task, oldest first."""
    query = select(Artifact).where(Artifact.task == id, col(Artifact.visible))
    return list(session.exec(query.order_by(col(Artifact.id))))


def find(session: Session, id: int, role: str, name: str) -> Artifact | None:
    """A visible artifact by its key."""
    query = select(Artifact).where(
        Artifact.task == id, Artifact.role == role, Artifact.name == name, col(Artifact.visible)
    )
    return session.exec(query).first()


def pieces(session: Session, artifact: int, *, after: int, limit: int = 8) -> list[bytes]:
    """Pieces in order.

    Args:
        session: A read transaction.
        artifact: `artifact.id`.
        after: Number of the piece before the first one wanted; -1 from the start.
        limit: At most so many.
    """
    query = (
        select(ArtifactPiece.data)
        .where(ArtifactPiece.artifact == artifact, ArtifactPiece.number > after)
        .order_by(col(ArtifactPiece.number))
        .limit(limit)
    )
    return list(session.exec(query))


def _insert(
    connection: Connection, *, run: RunKey, role: str, attempt: int, artifact: ArtifactInfo,
    now: int,
) -> int:  # fmt: skip
    cursor = connection.execute(
        "INSERT INTO artifact (task, role, name, attempt, media_type, size, created)"
        " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (run.id, role, artifact.name, attempt, artifact.media_type, artifact.size, now),
    )
    return int(cursor.fetchone()[0])


def _discard(artifact: int, connection: Connection) -> None:
    hidden = "SELECT id FROM artifact WHERE id = ? AND NOT visible"
    connection.execute(f"DELETE FROM artifact_piece WHERE artifact IN ({hidden})", (artifact,))
    connection.execute("DELETE FROM artifact WHERE id = ? AND NOT visible", (artifact,))


def _discarded(answer: None) -> None:
    """Nobody waits for it."""


def _not_discarded(error: BaseException) -> None:
    logger.warning("half an artifact stays until the next start: %s", error)


def _insert_piece(id: int, number: int, data: bytes, connection: Connection) -> None:
    connection.execute(
        "INSERT INTO artifact_piece (artifact, number, data) VALUES (?, ?, ?)", (id, number, data)
    )
