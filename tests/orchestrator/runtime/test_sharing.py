"""Sharing inside the runtime: what a change means for those who come at the same moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlmodel import func, select

from orchestrator.errors import TaskNotFound
from orchestrator.runtime.service import TaskService
from orchestrator.store.database import Database
from orchestrator.store.tables import Share
from tests.orchestrator.teams import (
    OWNER,
    eventually,
    hang,
    read_to_end,
    service,
    speak,
    submit,
    team,
)


async def test_who_attaches_while_the_share_ends_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reader is opened after its right was checked and before it could be told of the end."""
    async with service(team(a=hang)) as opened:
        submission = await submit(opened, "a")
        task_id = submission.task_id
        assert submission.reader is not None
        submission.reader.close()
        await opened.sharing.share(task_id, owner=OWNER, subjects=["bob"])
        checked, gate = asyncio.Event(), asyncio.Event()
        real = Database.read
        reads = 0

        async def read(self: Database, function: Any) -> Any:
            nonlocal reads
            answer = await real(self, function)
            reads += 1
            if reads == 1:
                checked.set()
                await gate.wait()
            return answer

        monkeypatch.setattr(Database, "read", read)
        attaching = asyncio.create_task(opened.attach(task_id, owner="bob", shared=True))
        await checked.wait()
        await opened.sharing.share(task_id, owner=OWNER, subjects=[])
        gate.set()
        with pytest.raises(TaskNotFound):
            await attaching
        monkeypatch.undo()
        assert opened._channels.readers == 0


async def test_no_row_of_a_share_outlives_its_task() -> None:
    async with service(team(a=speak)) as opened:
        submission = await submit(opened, "a")
        await read_to_end(submission.reader)
        await opened.sharing.share(submission.task_id, owner=OWNER, subjects=["bob", "carol"])
        assert await count(opened) == 2
        await opened.delete(submission.task_id, owner=OWNER)

        async def gone() -> bool:
            return await count(opened) == 0

        await eventually(gone)


async def count(opened: TaskService) -> int:
    """How many shares are stored."""
    return await opened.database.read(
        lambda session: session.exec(select(func.count()).select_from(Share)).one()
    )


async def test_a_change_is_told_with_who_may_read_from_now_on() -> None:
    async with service(team(a=hang)) as opened:
        submission = await submit(opened, "a")
        told: list[tuple[str, list[bool]]] = []
        people = [OWNER, "bob", "carol"]
        opened.sharing.watch(lambda task_id, may: told.append((task_id, [may(p) for p in people])))
        await opened.sharing.share(submission.task_id, owner=OWNER, subjects=["bob", "bob"])
        await opened.sharing.share(submission.task_id, owner=OWNER, subjects=(), everyone=True)
        await opened.sharing.share(submission.task_id, owner=None, subjects=())
        with pytest.raises(TaskNotFound):
            await opened.sharing.share(submission.task_id, owner="bob", subjects=["bob"])
        assert told == [
            (submission.task_id, [True, True, False]),
            (submission.task_id, [True, True, True]),
            (submission.task_id, [True, False, False]),
        ]
        assert not await opened.sharing.may_read(submission.task_id, "bob")
        assert await opened.sharing.may_read(submission.task_id, OWNER)
        assert submission.reader is not None
        submission.reader.close()
