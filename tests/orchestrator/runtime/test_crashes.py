"""The process dies at every commit of a scenario, one after the other, and nothing is lost."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.errors import TaskConflict
from orchestrator.runtime.service import TaskService
from orchestrator.store.database import Database
from orchestrator.store.listing import TaskFilter
from orchestrator.store.migrations import migrate
from tests.grammar import check_prefix, split_frames
from tests.orchestrator.runtime.crashing import (
    DIED,
    Children,
    Job,
    children,
    registry,
)  # fmt: skip
from tests.orchestrator.teams import OWNER, at_file, eventually, log_of, request, service


@pytest.fixture(scope="module")
def processes() -> Iterator[Children]:
    with children() as server:
        yield server


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to copy."""
    path = tmp_path_factory.mktemp("empty") / "tasks.db"
    database = Database(path)
    migrate(database)
    database.close()
    return path


def opened_gate() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@pytest.mark.slow
@pytest.mark.parametrize(
    ("scenario", "point"),
    [
        ("agents", "before_commit"),
        ("agents", "after_commit"),
        ("controls", "after_commit"),
        # On the disk it is the one before: only what readers saw differs.
        pytest.param("controls", "before_commit", marks=pytest.mark.soak),
    ],
)
async def test_whatever_was_seen_before_a_crash_is_a_prefix_of_what_is_there_in_the_end(
    scenario: str, point: str, tmp_path: Path, empty: Path, processes: Children
) -> None:
    for nth in range(1, 500):
        folder = tmp_path / str(nth)
        folder.mkdir()
        shutil.copy(empty, folder / "tasks.db")
        status = processes.run(Job(str(folder), point, nth, scenario))
        assert status in (DIED, 0)
        async with service(registry(opened_gate()), at_file(folder / "tasks.db")) as opened:
            await _finish(opened)
            await _check(opened, folder)
        if status == 0:
            assert nth > 15, "the scenario has fewer commits than it should"
            return
        shutil.rmtree(folder)
    raise AssertionError("the scenario never came to its end")


EXPECTED = {
    "first": "completed", "second": "completed", "hanging": "cancelled",
    "paused between two agents": "completed", "stopped": "completed",
}  # fmt: skip


async def _finish(opened: TaskService) -> None:
    """Bring everything to its end: cancel what hangs, resume what is paused, retry the rest."""

    async def ended() -> bool:
        page, _ = await opened.list(TaskFilter(), before=None, limit=10)
        missing = [task for task in page if task["status"] != EXPECTED[task["title"]]]
        missing += [task for task in page if task["actions"]["retry"]["allowed"]
                    and task["title"] == "stopped"]  # fmt: skip
        for task in missing:
            hangs = task["title"] == "hanging"
            names = ("cancel",) if hangs else ("resume", "retry")
            if hangs and task["agents"][1]["status"] != "running":
                continue
            for name in (name for name in names if task["actions"][name]["allowed"]):
                with contextlib.suppress(TaskConflict):  # it has moved on by itself
                    control = getattr(opened, name)
                    await control(task["taskId"], owner=OWNER, requested_by="me")
        return not missing

    await eventually(ended)


async def _check(opened: TaskService, folder: Path) -> None:
    page, _ = await opened.list(TaskFilter(), before=None, limit=10)
    for task in page:
        events = await log_of(opened, task["taskId"])
        stored, _ = await opened.events(task["taskId"], owner=OWNER, after=0, limit=1000)
        frames = [f"id: {e.seq}\nevent: {e.type}\ndata: {e.data}\n\n".encode() for e in stored]
        seen = folder / task["taskId"]
        if seen.exists():
            check_prefix(split_frames(seen.read_bytes()), frames)
        assert task["status"] == EXPECTED[task["title"]]
        shot = await opened.snapshot(task["taskId"], owner=OWNER)
        assert shot["lastEventId"] == len(events)
        for agent in shot["agents"]:
            mine = [e for e in events if e.get("agentRole") == agent["agentRole"]]
            last = [e.get("content", "") for e in mine if e.get("attempt") == agent["attempt"]]
            assert agent["content"] == "".join(last)
    titles = [task["title"] for task in page]
    assert len(titles) == len(set(titles)), "a task was stored twice"
    assert _seen(folder) <= {task["taskId"] for task in page}, "a task that was shown is gone"


def _seen(folder: Path) -> set[str]:
    """The tasks somebody was told of."""
    return {path.name for path in folder.iterdir() if not path.name.startswith("tasks.db")}


async def test_a_repeat_after_the_crash_finds_the_task_or_starts_the_only_one(
    tmp_path: Path, empty: Path, processes: Children
) -> None:
    for nth in (2, 3, 6, 9):
        folder = tmp_path / str(nth)
        folder.mkdir()
        shutil.copy(empty, folder / "tasks.db")
        assert processes.run(Job(str(folder), "after_commit", nth)) == DIED
        seen = _seen(folder)
        async with service(registry(opened_gate()), at_file(folder / "tasks.db")) as opened:
            again = await opened.submit(
                request("a", "b", title="first"), owner=OWNER, idempotency_key="first",
                body_hash="first",
            )  # fmt: skip
            page, _ = await opened.list(TaskFilter(), before=None, limit=10)
            found = [task["taskId"] for task in page if task["title"] == "first"]
            assert found == [again.task_id]
            assert seen <= {task["taskId"] for task in page}
            await _finish(opened)
