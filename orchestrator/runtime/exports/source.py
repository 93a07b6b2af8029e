"""A task as it stood at one event: what every form of an export is made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from orchestrator.clock import iso
from orchestrator.errors import StorageError, TaskNotFound
from orchestrator.runtime.exports.names import unique_path
from orchestrator.runtime.snapshots import listed
from orchestrator.store import agent_runs, artifacts, events, listing
from orchestrator.store.database import Database, Session
from orchestrator.store.events import StoredEvent
from orchestrator.store.tables import Artifact

PAGE_BYTES = 512 * 1024  # of the log held at once; a larger event comes alone
PIECES = 2  # of a file held at once, 256 KiB each


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportFile:
    """A file of an agent and where it goes."""

    artifact: Artifact
    path: str
    """In the archive, e.g. ``files/scanner/report.md``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportSource:
    """A task, its log up to `last_event_id`, and the files it has.

    Made by `open`. Each read is a short transaction of its own; what was read first decides.
    """

    database: Database
    id: int
    """`task.id`."""
    entry: dict[str, Any]
    """What lists say of the task, and its inputs; without what may be done with it."""
    files: Sequence[ExportFile]
    exported_at: str
    rows: int
    """How many events are read at once."""

    @classmethod
    async def open(
        cls, database: Database, task_id: str, *, owner: str | None, shared: bool, now_ms: int
    ) -> ExportSource:
        """Begin an export.

        Raises:
            TaskNotFound: There is none, or it is somebody else's and not `shared`.
        """

        def read(session: Session) -> ExportSource:
            task = listing.find(session, task_id, owner, shared=shared)
            if task is None:
                raise TaskNotFound(task_id)
            runs = listing.attempts(session, [task.id])
            entry = listed(session, task, runs, silent=())
            del entry["actions"], entry["stuck"]
            inputs = orjson.loads(task.request).get("inputs")
            if inputs is not None:
                entry["inputs"] = inputs
            taken: set[str] = set()
            files = [
                ExportFile(artifact=a, path="files/" + unique_path(a.role, a.name, taken))
                for a in artifacts.of_task(session, task.id)
            ]
            average = max(1, task.log_bytes // max(1, task.last_seq))
            return cls(
                database=database, id=task.id, entry=entry, files=files,
                exported_at=iso(now_ms), rows=max(4, min(PAGE_BYTES // average, events.PAGE_ROWS)),
            )  # fmt: skip

        return await database.read(read)

    @property
    def task_id(self) -> str:
        """The task's UUID."""
        return str(self.entry["taskId"])

    @property
    def last_event_id(self) -> int:
        """Number of the last event that belongs to the export."""
        return int(self.entry["lastEventId"])

    @property
    def head(self) -> dict[str, Any]:
        """What stands before everything else."""
        return {
            "type": "task_export",
            "taskId": self.task_id,
            "lastEventId": self.last_event_id,
            "exportedAt": self.exported_at,
            "task": self.entry,
            "files": [
                {
                    "agentRole": file.artifact.role,
                    "name": file.artifact.name,
                    "mediaType": file.artifact.media_type,
                    "size": file.artifact.size,
                    "path": file.path,
                }
                for file in self.files
            ],
        }

    async def events(
        self, *, after: int = 0, last: int | None = None
    ) -> AsyncIterator[list[StoredEvent]]:
        """The log, page by page.

        Args:
            after: Exclusive.
            last: Inclusive; None for the end of the export.
        """
        last = self.last_event_id if last is None else last
        while after < last:
            limit = min(self.rows, last - after)
            page = partial(events.page, id=self.id, after=after, limit=limit, max_bytes=PAGE_BYTES)
            found = await self.database.read(page)
            if not found or found[-1].seq != after + len(found):
                # Only of a task that is being deleted something is missing.
                raise TaskNotFound(self.task_id)
            yield found
            after = found[-1].seq

    async def output(self, role: str) -> Any:
        """The JSON result of an agent's last attempt; None when it has none."""
        text = await self.database.read(partial(agent_runs.output_of, id=self.id, role=role))
        return None if text is None else orjson.loads(text)

    async def content(self, file: ExportFile) -> AsyncIterator[bytes]:
        """A file, piece by piece.

        Raises:
            StorageError: It was replaced or deleted meanwhile; half a file is none.
        """
        size, after = 0, -1
        while size < file.artifact.size:
            read = partial(artifacts.pieces, artifact=file.artifact.id, after=after, limit=PIECES)
            pieces = await self.database.read(read)
            if not pieces:
                raise StorageError(f"the file {file.path} was replaced while it was exported")
            for piece in pieces:
                yield piece
                size += len(piece)
            after += len(pieces)
