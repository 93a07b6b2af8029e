"""Heads: an append looks where its log ends only if something else was written since."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from functools import partial

import pytest

from orchestrator.errors import AppendRefused
from orchestrator.store import events
from orchestrator.store.database import Connection
from orchestrator.store.events import Account, Appended
from orchestrator.store.heads import LAST_SEQ
from tests.orchestrator.store.databases import Gate, note, sql
from tests.orchestrator.store.rows import PROGRESS, row, stored


async def test_an_append_after_another_asks_nothing_and_changes_only_the_log() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        statements: list[str] = []
        await task.writer.submit(lambda c: c.set_trace_callback(statements.append))
        await task.append(run)
        statements.clear()
        assert [event.seq for event in (await task.append(run, count=2)).events] == [3, 4]
        assert [
            s for s in statements if "task" in s and not s.startswith("INSERT INTO event")
        ] == []
        assert len(statements) == 4  # BEGIN, INSERT, the mark of the transaction, COMMIT
        assert [await task.get(c) for c in (LAST_SEQ, "updated", "active_ms")] == [4, 50, 0]
        await task.append(run, account=Account(10, 3))
        assert [await task.get(c) for c in (LAST_SEQ, "updated", "active_ms")] == [5, 60, 3]


async def test_what_others_wrote_between_two_appends_is_minded() -> None:
    async with row() as task:
        run = await task.claim()
        assert run is not None
        await task.append(run)
        await task.writer.submit(note("of something else"))
        assert (await task.append(run)).events[0].seq == 3
        await task.control("pause")
        appended = await task.append(run)
        assert (appended.events[0].seq, appended.status) == (5, "pausing")
        await task.set(epoch=2)
        with pytest.raises(AppendRefused) as caught:
            await task.append(run)
        assert caught.value.status is None
        await task.set(epoch=1, status="completed")
        with pytest.raises(AppendRefused) as caught:
            await task.append(run)
        assert caught.value.status == "completed"
        assert [event["seq"] for event in await task.log()] == [1, 2, 3, 4, 5]


async def test_within_one_transaction_each_goes_on_from_the_other() -> None:
    gate = Gate()
    async with row(gate=gate) as task:
        run = await task.claim()
        assert run is not None
        await task.append(run)
        await gate.hold(task.writer)
        commits = task.writer.commits
        appends = [task.append(run), task.append(run)]
        paused = task.control("pause")
        appends += [task.append(run), task.append(run)]
        lost = task.writer.submit(sql("UPDATE task SET epoch = epoch + 1"))
        late = task.append(run)
        gate.open()
        appended = await asyncio.gather(*appends)
        assert [(each.events[0].seq, each.status) for each in appended] == [
            (3, "running"), (4, "running"), (6, "pausing"), (7, "pausing"),
        ]  # fmt: skip
        assert (await paused).status == "pausing"
        await lost
        with pytest.raises(AppendRefused):
            await late
        assert task.writer.commits == commits + 2  # of the gate, and of all this


@pytest.mark.parametrize("fault", ["operation", "commit"])
async def test_after_a_transaction_was_undone_no_number_is_left_out(fault: str) -> None:
    gate = Gate()
    async with stored(at=gate, failing=True) as (task, connections):
        run = await task.claim()
        assert run is not None
        await task.append(run)
        await gate.hold(task.writer)
        appended = task.append(run)
        if fault == "operation":
            bad = task.writer.submit(sql("no statement"))
        else:
            faults = iter([sqlite3.SQLITE_IOERR])
            connections.fail = lambda s: next(faults, None) if s == "COMMIT" else None
        gate.open()
        assert (await appended).events[0].seq == 3
        if fault == "operation":
            with pytest.raises(Exception, match="refused"):
                await bad
        assert (await task.append(run)).events[0].seq == 4
        assert [event["seq"] for event in await task.log()] == [1, 2, 3, 4]


async def test_another_connection_that_has_changed_as_much_is_asked_anew() -> None:
    async with stored(failing=True) as (task, connections):
        run = await task.claim()
        assert run is not None
        await task.append(run)
        changes = await task.writer.submit(lambda c: c.total_changes)
        faults = iter([sqlite3.SQLITE_IOERR])
        connections.fail = lambda s: next(faults, None) if s == "COMMIT" else None
        await task.control("pause")
        assert connections.connections == 2

        def catch_up(connection: Connection) -> None:
            while connection.total_changes < changes - 1:  # the mark of this transaction is one
                note("of something else")(connection)

        await task.writer.submit(catch_up)
        appended = await task.append(run)
        assert (appended.events[0].seq, appended.status) == (4, "pausing")


async def test_an_append_that_failed_has_moved_nothing() -> None:
    async with stored(failing=True) as (task, connections):
        run = await task.claim()
        assert run is not None
        await task.append(run)
        faults = iter([sqlite3.SQLITE_IOERR])
        connections.fail = lambda s: next(faults, None) if "INTO event" in s else None

        def again(connection: Connection) -> Appended | AppendRefused:
            append = partial(
                events.append, connection, run, [PROGRESS], heads=task.writer.heads, now=60
            )
            with suppress(sqlite3.OperationalError):
                append()
            return append()

        appended = await task.writer.submit(again)
        assert isinstance(appended, Appended)
        assert appended.events[0].seq == 3
