"""An export as a ZIP: the task, its log, a report, and all files of its agents.

Written by the standard library into nothing that can be rewound, so that what was written can be
sent and forgotten. Packing is work for the processor and is done in a thread.
"""

from __future__ import annotations

import asyncio
import io
import zipfile
from collections.abc import AsyncIterator
from datetime import datetime
from typing import IO, Any

from orchestrator.events import to_json
from orchestrator.runtime.exports.lines import write_events
from orchestrator.runtime.exports.report import write_report
from orchestrator.runtime.exports.source import ExportSource

PIECE_BYTES = 64 * 1024  # packed bytes that are sent together
MAX_PLAIN_BYTES = 2**31 - 1  # above it an entry is announced as a long one


class _Sink(io.RawIOBase):
    """What the archive is written to: keeps what was not taken yet. It cannot seek or tell."""

    def __init__(self) -> None:
        super().__init__()
        self._kept: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        piece = bytes(data)
        self._kept.append(piece)
        self._size += len(piece)
        return len(piece)

    def take(self, least: int = PIECE_BYTES) -> bytes:
        """Everything, if it is enough to be sent."""
        if self._size < least:
            return b""
        data = b"".join(self._kept)
        self._kept.clear()
        self._size = 0
        return data


async def write_archive(source: ExportSource) -> AsyncIterator[bytes]:
    """Write the archive; all its paths lie in one folder named after the task.

    Raises:
        StorageError: A file was replaced meanwhile; the archive ends broken, as it should.
    """
    sink = _Sink()
    archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED)
    folder = f"task-{source.task_id}"

    async def entry(path: str, pieces: AsyncIterator[bytes], size: int) -> AsyncIterator[bytes]:
        info = zipfile.ZipInfo(f"{folder}/{path}", _date(source.exported_at))
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = 0o644 << 16
        file: IO[bytes] = archive.open(info, "w", force_zip64=size > MAX_PLAIN_BYTES)
        async for piece in pieces:
            await asyncio.to_thread(file.write, piece)
            if packed := sink.take():
                yield packed
        await asyncio.to_thread(file.close)
        yield sink.take(0)

    entries = [
        ("task.json", _once(to_json(source.head).encode()), 0),
        ("events.jsonl", write_events(source), MAX_PLAIN_BYTES + 1),
        ("report.md", write_report(source, linked=True), MAX_PLAIN_BYTES + 1),
        *((file.path, source.content(file), file.artifact.size) for file in source.files),
    ]
    for path, pieces, size in entries:
        async for packed in entry(path, pieces, size):
            yield packed
    archive.close()
    yield sink.take(0)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def _date(text: str) -> tuple[int, int, int, int, int, int]:
    """A time as ZIP has it; it knows none before 1980."""
    time = datetime.fromisoformat(text)
    return (max(1980, time.year), time.month, time.day, time.hour, time.minute, time.second)
