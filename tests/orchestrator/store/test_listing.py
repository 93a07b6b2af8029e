"""Lists of tasks: every filter, any text in it, and pages that neither lose nor repeat."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.runtime.service import TaskService
from orchestrator.store.listing import TaskFilter
from orchestrator.tasks import TaskStatus
from tests.orchestrator.teams import (
    OWNER,
    fail,
    hang,
    read_to_end,
    request,
    service,
    speak,
    submit,
    team,
)  # fmt: skip


async def titles(opened: TaskService, **wanted: Any) -> list[str]:
    page, _ = await opened.list(TaskFilter(**wanted), before=None, limit=100)
    return [task["title"] for task in page]


async def test_every_filter_narrows_the_list() -> None:
    async with service(team(a=speak, b=fail, h=hang)) as opened:
        stored: list[tuple[str, str, dict[str, Any]]] = [
            ("a", OWNER, {"title": "one", "metadata": {"ref": "1", "a.b": "x"}}),
            ("b", OWNER, {"title": "two", "metadata": {"ref": "2"}}),
            ("ab", "other", {"title": "three", "description": "50% of_it \\ done"}),
        ]
        for roles, owner, fields in stored:
            await read_to_end((await submit(opened, *roles, owner=owner, **fields)).reader)
        running = await submit(opened, "h", title="four")
        now = opened._clock.wall_ms()
        table: list[tuple[dict[str, Any], str]] = [
            ({}, "four three two one"),
            ({"owner": OWNER}, "four two one"),
            ({"owner": "nobody"}, ""),
            ({"statuses": frozenset({TaskStatus.FAILED})}, "three two"),
            ({"statuses": frozenset({TaskStatus.COMPLETED, TaskStatus.RUNNING})}, "four one"),
            ({"unfinished": True}, "four"),
            ({"agent": "b"}, "three two"),
            ({"agent": "%"}, ""),
            ({"text": "T"}, "three two one four"),
            ({"text": "tWO"}, "two"),
            ({"text": "50% OF_IT \\"}, "three"),
            ({"text": "%"}, "three"),
            ({"text": "_"}, "three"),
            ({"text": "'; DROP TABLE task; --"}, ""),
            ({"created_from_ms": now + 1}, ""),
            ({"created_to_ms": 1}, ""),
            ({"created_to_ms": now + 1}, "four three two one"),
            ({"metadata": {"ref": "2"}}, "two"),
            ({"metadata": {"a.b": "x"}}, "one"),
            ({"metadata": {"ref": "1", "a.b": "x"}}, "one"),
            ({"metadata": {"ref": "1", "a.b": "y"}}, ""),
            ({"ids": frozenset({4, 1})}, "four one"),
            ({"ids": frozenset()}, ""),
            ({"job_type": "manual"}, "four three two one"),
            ({"job_type": "api"}, ""),
        ]
        for wanted, expected in table:
            found = await titles(opened, **wanted)
            assert sorted(found) == sorted(expected.split()), wanted
        assert running.reader is not None
        running.reader.close()


@pytest.mark.parametrize("key", ["a'b", "$", "a[0]", "*", "a b", "ü", "a.b.c", "k"])
async def test_metadata_is_found_by_any_key(key: str) -> None:
    async with service(team(a=speak)) as opened:
        for value in ("1", "2"):
            given = await submit(opened, "a", title=value, metadata={key: value, "other": "3"})
            await read_to_end(given.reader)
        assert await titles(opened, metadata={key: "2"}) == ["2"]
        assert await titles(opened, metadata={key: "3"}) == []


async def test_pages_neither_lose_nor_repeat() -> None:
    async with service(team(a=speak)) as opened:
        for number in range(25):
            await opened.submit(request("a", title=str(number)), owner=OWNER)
        found: list[str] = []
        before: int | None = None
        sizes = []
        while True:
            page, before = await opened.list(TaskFilter(owner=OWNER), before=before, limit=10)
            found += [task["title"] for task in page]
            sizes.append(len(page))
            await opened.submit(request("a", title="new"), owner=OWNER)  # newer, not on later pages
            if before is None:
                break
        assert sizes == [10, 10, 5]
        assert found == [str(number) for number in reversed(range(25))]


async def test_an_entry_has_no_texts() -> None:
    async with service(team(a=speak)) as opened:
        await read_to_end((await submit(opened, "a")).reader)
        page, _ = await opened.list(TaskFilter(), before=None, limit=1)
        assert page[0]["agents"][0].keys().isdisjoint({"content", "output", "artifacts"})
        assert page[0]["lastEventId"] == 5
