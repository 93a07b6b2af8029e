"""An export as lines of JSON: one about the task, then the log as it is stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

from orchestrator.events import to_json
from orchestrator.runtime.exports.source import ExportSource


async def write_lines(source: ExportSource) -> AsyncIterator[bytes]:
    """The first line is `ExportSource.head`; each other one is an event, the very text of it."""
    yield f"{to_json(source.head)}\n".encode()
    async for page in write_events(source):
        yield page


async def write_events(source: ExportSource) -> AsyncIterator[bytes]:
    """The log alone, an event a line."""
    async for page in source.events():
        yield "".join([f"{event.data}\n" for event in page]).encode()
