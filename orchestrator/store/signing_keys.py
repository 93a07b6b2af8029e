"""Keys this installation signs with, made once and kept with its data.

They stand in the database, not in a file, so that every process on it knows them, and what one has
signed another one accepts, also after a restart.
"""

from __future__ import annotations

from sqlmodel import Session, select

from orchestrator.store.database import Connection
from orchestrator.store.tables import SigningKey


def find(session: Session, name: str) -> bytes | None:
    """The key of this name; None when nothing was signed with it yet."""
    return session.exec(select(SigningKey.value).where(SigningKey.name == name)).first()


def obtain(connection: Connection, *, name: str, fresh: bytes) -> bytes:
    """The key of this name; `fresh` becomes it if there is none."""
    connection.execute(
        "INSERT INTO signing_key (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING",
        (name, fresh),
    )
    row = connection.execute("SELECT value FROM signing_key WHERE name = ?", (name,)).fetchone()
    return bytes(row[0])
