"""The database file: its lock, its temporary twin, and files that cannot be used."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from sqlmodel import Session, text

from orchestrator.errors import StorageCorrupt, StorageError, StorageLocked
from orchestrator.store.database import Database
from orchestrator.store.migrations import HEAD, current, migrate
from tests.orchestrator.store.databases import note, notes, writing


def test_a_second_one_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(Database(path)) as database:
        with pytest.raises(StorageLocked, match=f"in use by process {os.getpid()}\\."):
            Database(path)
        database.announce("http://127.0.0.1:8000")
        with pytest.raises(StorageLocked, match=r"which serves http://127\.0\.0\.1:8000"):
            Database(path)
        database.announce("")
        with pytest.raises(StorageLocked, match=f"process {os.getpid()}\\."):
            Database(path)
    Database(path).close()


def test_a_child_process_does_not_keep_the_lock(tmp_path: Path) -> None:
    with closing(Database(tmp_path / "t.db")):
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        Database(tmp_path / "t.db").close()
    finally:
        child.communicate()


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from orchestrator.store.database import Database;"
        "d = Database(pathlib.Path(sys.argv[1])); print('open', flush=True); input()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "t.db")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        with pytest.raises(StorageLocked, match=f"process {child.pid}"):
            Database(tmp_path / "t.db")
        child.kill()
        child.wait()
    Database(tmp_path / "t.db").close()


async def test_a_temporary_database_is_gone_when_it_is_closed() -> None:
    async with writing() as (database, writer, _):
        await writer.submit(note("a"))
        folder = database.path.parent
        assert folder.stat().st_mode & 0o077 == 0
        assert notes(database) == ["a"]
    assert not folder.exists()


def test_what_a_dead_process_left_of_a_temporary_database_is_removed() -> None:
    with closing(Database(None)) as dead:
        copy = dead.path.parent.with_name(dead.path.parent.name + "-dead")
        shutil.copytree(dead.path.parent, copy)
        with closing(Database(None)) as other:
            assert not copy.exists()
            assert dead.path.exists()
            assert other.path != dead.path


@pytest.mark.parametrize(
    "content",
    [b"this is no database", b"\x00" * 8192, b"SQLite format 3\x00" + b"\xff" * 4000],
)
def test_a_damaged_file_is_refused_and_left_byte_for_byte(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.db"
    path.write_bytes(content)
    with pytest.raises(StorageCorrupt, match="left as it is"):
        Database(path)
    assert path.read_bytes() == content
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.db", "t.db.lock"]
    path.unlink()
    Database(path).close()  # the lock is free again


async def test_a_database_whose_first_page_was_overwritten_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    async with writing(path) as (_, writer, _failing):
        await writer.submit(note("a"))
    damaged = b"garbage!" * 512 + path.read_bytes()[4096:]
    path.write_bytes(damaged)
    with pytest.raises(StorageCorrupt):
        Database(path)
    assert path.read_bytes() == damaged


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="folder"):
        Database(tmp_path / "missing" / "t.db")


async def test_a_read_is_one_transaction_that_sees_no_later_write(tmp_path: Path) -> None:
    async with writing(tmp_path / "t.db") as (database, writer, _):
        await writer.submit(note("a"))

        def twice(session: Session) -> tuple[int, int]:
            query = text("SELECT count(*) FROM note")
            first = session.connection().execute(query).scalar_one()
            with closing(sqlite3.connect(database.path, timeout=10)) as other, other:
                other.execute("INSERT INTO note VALUES ('b')")
            return first, session.connection().execute(query).scalar_one()

        assert await database.read(twice) == (1, 1)
        assert notes(database) == ["a", "b"]


async def test_nothing_written_is_lost_when_the_files_are_found_as_after_a_kill(
    tmp_path: Path,
) -> None:
    path = tmp_path / "t.db"
    async with writing(path) as (_, writer, _failing):
        await writer.submit(note("a"))
        for suffix in ("", "-wal", "-shm"):
            shutil.copy(f"{path}{suffix}", f"{tmp_path / 'copy.db'}{suffix}")
        for suffix in ("", "-wal"):  # as a backup may have them
            shutil.copy(f"{path}{suffix}", f"{tmp_path / 'bare.db'}{suffix}")
    for name in ("copy.db", "bare.db"):
        with closing(Database(tmp_path / name)) as database:
            assert notes(database) == ["a"]


def test_a_newer_database_is_refused_and_an_older_one_brought_up(tmp_path: Path) -> None:
    path = tmp_path / "t.db"
    with closing(Database(path)) as database:
        assert current(database) is None
        assert migrate(database) == (None, HEAD)
        assert migrate(database) == (HEAD, HEAD)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with closing(Database(path)) as database, pytest.raises(StorageError, match="newer version"):
        migrate(database)
