"""The writer: one transaction for all that waits, its order, and storing that fails."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import StorageCorrupt, StorageError, StorageFull, TaskConflict
from orchestrator.store import backlog
from orchestrator.store import writer as writer_module
from orchestrator.store.database import Connection
from orchestrator.store.writer import Writer
from tests.orchestrator.store.databases import Gate, note, notes, sql, writing


async def gathered(*futures: asyncio.Future[Any]) -> list[Any]:
    return await asyncio.gather(*futures, return_exceptions=True)


async def test_what_waits_is_one_transaction_in_order() -> None:
    gate = Gate()
    async with writing(at=gate) as (database, writer, _):
        await gate.hold(writer)
        before = writer.commits
        shown: list[str] = []
        futures = [writer.submit(note(f"{n}"), shown.append) for n in range(50)]
        gate.open()
        assert await gathered(*futures) == [f"{n}" for n in range(50)]
        assert writer.commits == before + 2  # the one that was held, and all others together
        assert shown == notes(database) == [f"{n}" for n in range(50)]


async def test_nothing_is_shown_before_it_is_committed() -> None:
    async with writing() as (database, writer, _):
        shown: list[list[str]] = []
        for number in range(20):
            await writer.submit(note(f"{number}"), lambda _: shown.append(notes(database)))
        assert [len(each) for each in shown] == list(range(1, 21))


async def test_a_batch_ends_after_some_hundred_rows() -> None:
    gate = Gate()
    async with writing(at=gate) as (_, writer, _failing):
        await gate.hold(writer)
        before = writer.commits
        futures = [writer.submit(note("x"), rows=50) for _ in range(40)]
        gate.open()
        await gathered(*futures)
        assert writer.commits == before + 1 + 40 * 50 // backlog.BATCH_ROWS


async def test_after_many_at_once_whoever_comes_waits_for_company(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(backlog, "GATHER_SECONDS", 60.0)
    gate = Gate()
    async with writing(at=gate) as (_, writer, _failing), asyncio.timeout(10):
        await gate.hold(writer)
        many = [writer.submit(note("x")) for _ in range(backlog.MANY)]
        gate.open()
        await gathered(*many)
        before = writer.commits
        more = []
        for number in range(50):
            more.append(writer.submit(note(f"{number}")))
            await asyncio.sleep(0)
        await gathered(*more)
        assert writer.commits == before + 1
        await writer.submit(note("alone"))  # the loop brings nothing else: no company will come


async def test_a_refusal_writes_nothing_and_harms_nobody() -> None:
    def refuse(connection: Connection) -> TaskConflict:
        return TaskConflict("no")

    gate = Gate()
    async with writing(at=gate) as (database, writer, _):
        await gate.hold(writer)
        called: list[object] = []
        futures: list[asyncio.Future[Any]] = [
            writer.submit(note("a")), writer.submit(refuse, called.append),
            writer.submit(note("b")),
        ]  # fmt: skip
        gate.open()
        answers = await gathered(*futures)
        assert answers[0] == "a"
        assert isinstance(answers[1], TaskConflict)
        assert answers[2] == "b"
        assert called == []
        assert notes(database) == ["a", "b"]


def _surrogate(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES (?)", ("\ud800",))


def _huge(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES (?)", (2**70,))


def _object(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES (?)", (object(),))


def _count(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES (?)", ())


def _twice(connection: Connection) -> None:
    connection.execute("INSERT INTO node (id, started) VALUES ('test', 1)")


def _syntax(connection: Connection) -> None:
    connection.execute("INSERT INTO nowhere VALUES (1)")


def _raises(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES ('half done')")
    raise ZeroDivisionError


def _says_storage(connection: Connection) -> None:
    connection.execute("INSERT INTO note (text) VALUES ('half done')")
    raise StorageError("attempt 1 has ended")


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (_surrogate, UnicodeEncodeError), (_huge, OverflowError), (_object, StorageError),
        (_count, StorageError), (_twice, StorageError), (_syntax, StorageError),
        (_raises, ZeroDivisionError), (_says_storage, StorageError),
    ],
)  # fmt: skip
@pytest.mark.parametrize("alone", [False, True], ids=["in a batch", "alone"])
async def test_one_bad_operation_fails_alone(
    bad: Callable[[Connection], None], expected: type[Exception], alone: bool
) -> None:
    gate = Gate()
    fatal: list[StorageError] = []
    async with writing(at=gate, on_fatal=fatal.append) as (database, writer, _):
        await gate.hold(writer)
        futures: list[asyncio.Future[Any]] = [writer.submit(bad)]
        if not alone:
            futures = [writer.submit(note("a")), *futures, writer.submit(note("b"))]
        gate.open()
        answers = await gathered(*futures)
        assert isinstance(answers[0 if alone else 1], expected)
        assert notes(database) == ([] if alone else ["a", "b"])
        assert await writer.submit(note("c")) == "c"
        assert fatal == []


async def test_a_callback_that_raises_keeps_nobody_else_from_an_answer() -> None:
    gate = Gate()
    async with writing(at=gate) as (_, writer, _failing):
        await gate.hold(writer)

        def raises(_: object) -> None:
            raise ZeroDivisionError

        futures = [writer.submit(note("a"), raises), writer.submit(note("b"))]
        gate.open()
        assert await asyncio.wait_for(gathered(*futures), 10) == ["a", "b"]


async def test_cancelling_who_waits_withdraws_nothing() -> None:
    gate = Gate()
    async with writing(at=gate) as (database, writer, _):
        await gate.hold(writer)
        shown: list[str] = []
        future = writer.submit(note("a"), shown.append)
        future.cancel()
        gate.open()
        await writer.submit(note("b"))
        assert notes(database) == ["a", "b"]
        assert shown == ["a"]


async def test_without_room_requests_fail_at_once_and_runs_wait_in_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_SECONDS", 0.02)
    async with writing(failing=True) as (database, writer, failing):
        full = True

        def fail(statement: str) -> int | None:
            inserts = statement.startswith("INSERT INTO note")
            return sqlite3.SQLITE_FULL if full and inserts else None

        failing.fail = fail
        runs = [writer.submit(note(f"run {n}"), waits=True) for n in range(3)]
        with pytest.raises(StorageFull):
            await writer.submit(note("request"))
        assert await writer.submit(lambda c: c.execute("SELECT 1").fetchone()[0]) == 1
        assert not any(run.done() for run in runs)
        full = False
        assert await asyncio.wait_for(gathered(*runs), 10) == ["run 0", "run 1", "run 2"]
        assert notes(database) == ["run 0", "run 1", "run 2"]


async def test_a_full_file_is_no_room_and_nothing_has_to_be_reset(tmp_path: Path) -> None:
    async with writing(tmp_path / "t.db") as (database, writer, _):
        await writer.submit(sql("PRAGMA max_page_count=1"))  # what it has already, and no page more
        big = "x" * 100_000
        with pytest.raises(StorageFull):
            await writer.submit(note(big))
        waiting = writer.submit(note(big), waits=True)
        with pytest.raises(StorageFull):
            await writer.submit(note(big))
        assert await writer.submit(note("small")) == "small"  # a smaller one fits
        await writer.submit(sql("PRAGMA max_page_count=1000000"))
        assert await asyncio.wait_for(waiting, 10) == big
        assert sorted(map(len, notes(database))) == [5, 100_000]


async def test_after_the_drain_nothing_waits_for_room() -> None:
    async with writing(failing=True) as (_, writer, failing):
        failing.fail = lambda s: sqlite3.SQLITE_FULL if s.startswith("INSERT INTO note") else None
        waiting = writer.submit(note("a"), waits=True)
        writer.stop_waiting()
        with pytest.raises(StorageFull):
            await asyncio.wait_for(waiting, 10)


async def test_what_waits_for_room_is_refused_at_the_end() -> None:
    async with writing(failing=True) as (_, writer, failing):
        failing.fail = lambda s: sqlite3.SQLITE_FULL if s.startswith("INSERT INTO note") else None
        waiting = writer.submit(note("a"), waits=True)
        with pytest.raises(StorageFull):
            await writer.submit(note("b"))
    with pytest.raises(StorageError, match="no room"):
        await waiting


async def test_a_closed_writer_says_so() -> None:
    async with writing() as (_, writer, _failing):
        pass
    with pytest.raises(StorageError, match="closed"):
        await asyncio.wait_for(writer.submit(note("late")), 10)


@pytest.mark.parametrize("statement", ["BEGIN IMMEDIATE", "INSERT INTO note", "COMMIT"])
@pytest.mark.parametrize("times", [1, 2])
async def test_after_an_io_error_it_reopens_and_tries_again(statement: str, times: int) -> None:
    async with writing(failing=True) as (database, writer, failing):
        left = times

        def fail(executed: str) -> int | None:
            nonlocal left
            if left and executed.startswith(statement):
                left -= 1
                return sqlite3.SQLITE_IOERR | (4 << 8)  # SQLITE_IOERR_FSYNC
            return None

        failing.fail = fail
        assert await writer.submit(note("a")) == "a"
        assert notes(database) == ["a"]
        assert failing.connections == 1 + times


def note_with_event(text: str) -> Callable[[Connection], str]:
    """As `note`, in a transaction that is known again by its event."""

    def both(connection: Connection) -> str:
        insert = "INSERT INTO event (task, seq, type, data) VALUES (1, ?, 'x', '{}')"
        connection.execute(insert, (ord(text),))
        return note(text)(connection)

    return both


@pytest.mark.parametrize("note", [note, note_with_event])
async def test_an_io_error_after_the_commit_is_read_back_and_not_done_twice(
    note: Callable[[str], Callable[[Connection], str]],
) -> None:
    async with writing(failing=True) as (database, writer, failing):
        left = 1

        def after(executed: str) -> int | None:
            nonlocal left
            if left and executed == "COMMIT":
                left -= 1
                return sqlite3.SQLITE_IOERR
            return None

        failing.after = after
        assert await writer.submit(note("a")) == "a"
        assert await writer.submit(note("b")) == "b"
        assert notes(database) == ["a", "b"]


async def test_a_database_that_opens_at_the_second_try_is_good_enough() -> None:
    async with writing(failing=True) as (database, writer, failing):
        left = 1

        def fail(executed: str) -> int | None:
            nonlocal left
            if left and executed == "COMMIT":
                left -= 1
                failing.refuse_connections = 2
                return sqlite3.SQLITE_IOERR
            return None

        failing.fail = fail
        assert await writer.submit(note("a")) == "a"
        assert notes(database) == ["a"]


@pytest.mark.parametrize("reason", ["written", "opened"])
async def test_three_failures_in_a_row_are_the_end(reason: str) -> None:
    fatal: list[StorageError] = []
    async with writing(failing=True, on_fatal=fatal.append) as (_, writer, failing):

        def fail(executed: str) -> int | None:
            if executed != "COMMIT":
                return None
            failing.refuse_connections = 1000 if reason == "opened" else 0
            return sqlite3.SQLITE_IOERR

        failing.fail = fail
        futures = [writer.submit(note("a")), writer.submit(note("b"), waits=True)]
        for answer in await asyncio.wait_for(gathered(*futures), 10):
            assert isinstance(answer, StorageError)
            assert reason in str(answer)
        assert len(fatal) == 1
        failing.fail = lambda _: None
        failing.refuse_connections = 0
        with pytest.raises(StorageError, match=reason):
            await writer.submit(note("late"))


async def test_a_damaged_database_is_the_end_at_once() -> None:
    fatal: list[StorageError] = []
    async with writing(failing=True, on_fatal=fatal.append) as (_, writer, failing):
        failing.fail = lambda s: sqlite3.SQLITE_CORRUPT if s.startswith("INSERT INTO n") else None
        with pytest.raises(StorageCorrupt):
            await writer.submit(note("a"))
        assert [type(error) for error in fatal] == [StorageCorrupt]


async def test_the_log_is_moved_into_the_database_between_transactions(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with writing(path) as (_, writer, _failing):
        size = 0
        for _ in range(30):
            await writer.submit(note("x" * 500_000), size=500_000)
            size = max(size, path.with_name("t.db-wal").stat().st_size)
        assert size < 4 * writer_module.CHECKPOINT_BYTES
    assert path.stat().st_size > 15_000_000


_FILE_TOO_LARGE = """
import asyncio, resource, signal, sys
from pathlib import Path
from orchestrator.errors import StorageError
from tests.orchestrator.store.databases import note, notes, writing

async def main():
    fatal = []
    async with writing(Path(sys.argv[1]), on_fatal=fatal.append) as (database, writer, _):
        await writer.submit(note("a"))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
        try:
            await writer.submit(note("x" * 1_000_000))
        except StorageError as error:
            print(error)
        await asyncio.sleep(0)
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
        print(len(fatal), notes(database))

asyncio.run(main())
"""


def test_a_file_that_may_not_grow_is_an_io_error_and_loses_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FILE_TOO_LARGE, str(tmp_path / "t.db")],
        capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] in ("1 ['a']", "0 ['a']"), done.stdout


async def test_a_writer_on_a_database_without_room_says_so(tmp_path: Path) -> None:
    async with writing(tmp_path / "t.db", failing=True) as (database, _, failing):
        failing.fail = lambda s: sqlite3.SQLITE_FULL if s.startswith("INSERT INTO node") else None
        with pytest.raises(StorageFull):
            Writer(database, node="other")
