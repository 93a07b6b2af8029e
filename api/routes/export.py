"""Export: a task as a file to keep."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import NamedTuple

from api.downloads import send_file
from api.endpoint import Call
from api.errors import InvalidParameter
from orchestrator.runtime.exports import ExportSource, write_archive, write_lines, write_report


class Format(NamedTuple):
    """A form of an export."""

    write: Callable[[ExportSource], AsyncIterator[bytes]]
    media_type: str


FORMATS = {
    "jsonl": Format(write_lines, "application/jsonl; charset=utf-8"),
    "md": Format(write_report, "text/markdown; charset=utf-8"),
    "zip": Format(write_archive, "application/zip"),
}


async def download(call: Call) -> None:
    """`GET /api/tasks/{id}/export`: log and files as they are now, to keep."""
    name = call.parameter("format") or "jsonl"
    if name not in FORMATS:
        raise InvalidParameter("format", f"is one of {', '.join(FORMATS)}")
    form = FORMATS[name]
    with call.components.streams.place(call.principal.subject) as place:
        place.take()
        source = await call.components.service.export(
            call.path("task_id"), owner=call.owner, shared=True
        )
        await send_file(
            call, f"task-{source.task_id}.{name}", form.write(source), media_type=form.media_type
        )
