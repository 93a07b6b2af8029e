"""One stored task, and what can be done to it in the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson

from orchestrator.controls import Control
from orchestrator.events import Draft
from orchestrator.store import controls, events, submissions, tasks
from orchestrator.store.controls import Call, Controlled
from orchestrator.store.database import Database
from orchestrator.store.events import Account, Appended, RunKey
from orchestrator.store.quotas import Quotas
from orchestrator.store.submissions import NewTask, Submitted
from orchestrator.store.tasks import Ended
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskRequest
from tests.orchestrator.store.databases import Failing, Gate, sql, writing

ASKED = TaskRequest(title="t", description="d", selected_agents=["a"])
CREATED = {"title": "t", "selectedAgents": ["a"], "executionMode": "sequential", "agents": []}
PROGRESS = Draft("agent_progress", {"agentRole": "a", "attempt": 1, "message": "m"}, 0)
COMPLETE = Draft("task_complete", {"totalExecutionTime": 1, "outputs": 1, "failedAgents": []}, 0)


class Row:
    """One stored task and the writer of its database."""

    def __init__(self, database: Database, writer: Writer, stored: Submitted) -> None:
        self.database = database
        self.writer = writer
        self.id = stored.id
        self.task_id = stored.task_id

    async def set(self, **columns: Any) -> None:
        for name, value in columns.items():
            await self.writer.submit(sql(f"UPDATE task SET {name} = {value!r}"))

    async def get(self, column: str) -> Any:
        query = f"SELECT {column} FROM task"
        return await self.writer.submit(lambda c: c.execute(query).fetchone()[0])

    async def log(self) -> list[dict[str, Any]]:
        rows = await self.database.read(partial(events.page, id=self.id, after=0))
        return [orjson.loads(row.data) for row in rows]

    async def claim(self, round: int = 1) -> RunKey | None:
        claim = partial(tasks.claim, id=self.id, round=round, node="n", now=50)
        claimed = await self.writer.submit(claim)
        return None if claimed is None else claimed.run

    def append(
        self, run: RunKey, *, count: int = 1, account: Account | None = None
    ) -> asyncio.Future[Appended]:
        append = partial(
            events.append, run=run, drafts=[PROGRESS] * count, heads=self.writer.heads,
            account=account, now=60,
        )  # fmt: skip
        return self.writer.submit(append)

    async def finish(self, run: RunKey, *, last_seq: int = 1) -> Ended:
        finish = partial(
            tasks.finish, run=run, draft=COMPLETE, before=(), changes=(), completed=1, failed=0,
            last_seq=last_seq, account=Account(70, 7), now=99,
        )  # fmt: skip
        return await self.writer.submit(finish)

    async def let_go(self, run: RunKey, *, handing_back: bool = False) -> Appended:
        let_go = partial(
            tasks.let_go, run=run, handing_back=handing_back, account=Account(60, 8), now=70
        )
        return await self.writer.submit(let_go)

    def control(self, control: Control, **options: Any) -> asyncio.Future[Controlled]:
        given = {
            "owner": "o", "requested_by": "me", "last_event_id": None, "grace_ms": 5, "now": 9,
            "quotas": Quotas(1000),
        }  # fmt: skip
        call = Call(control, self.task_id, **(given | options))
        return self.writer.submit(partial(controls.control, call=call))

    async def attempt(self, role: str, status: str, *, attempt: int = 1) -> None:
        """Store an attempt as it is."""
        await self.writer.submit(
            sql(
                "INSERT INTO agent_run (task, role, attempt, status, started)"
                f" VALUES ({self.id}, '{role}', {attempt}, '{status}', 5)"
            )
        )


@asynccontextmanager
async def row(*, gate: Gate | None = None, **columns: Any) -> AsyncIterator[Row]:
    async with stored(at=gate) as (task, _):
        await task.set(**columns)
        yield task


@asynccontextmanager
async def stored(
    *, at: Gate | None = None, failing: bool = False
) -> AsyncIterator[tuple[Row, Failing]]:
    """A task just submitted, and what can go wrong with the writer's connection."""
    async with writing(failing=failing, at=at or (lambda _: None)) as (
        database,
        writer,
        connections,
    ):
        new = NewTask(
            task_id="t", owner="o", request=ASKED, text=ASKED.to_json(), agents="[]",
            idempotency_key=None, body_hash=None, quotas=Quotas(1), node=None,
            created=Draft("task_created", CREATED, 0), starts=(), now=10,
        )  # fmt: skip
        submitted = await writer.submit(partial(submissions.submit, new=new))
        assert isinstance(submitted, Submitted)
        yield Row(database, writer, submitted), connections
