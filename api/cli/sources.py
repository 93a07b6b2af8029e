"""Where a task runs that is watched here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import BinaryIO, Protocol

from api.task_stream import StreamedEvent


class Source(Protocol):
    """A task under way."""

    def events(self) -> AsyncIterator[StreamedEvent]:
        """Its events until it has ended."""

    async def save(self, role: str, name: str, file: BinaryIO) -> None:
        """Write an artifact to a file."""
