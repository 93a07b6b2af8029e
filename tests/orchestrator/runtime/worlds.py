"""A file, lives of a process over it, and a client that outlives them all.

Whoever was cut off does what clients do: sends the same again, with the same key.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import orjson

from orchestrator.agents import AgentRegistry
from orchestrator.errors import StorageFull, TaskConflict, TaskNotFound
from orchestrator.runtime.channels import Reader
from orchestrator.store.database import Connection
from orchestrator.tasks import END_STATES
from tests.grammar import check_log, check_prefix, split_frames
from tests.orchestrator.runtime.virtual import Crash, Life, as_frames
from tests.orchestrator.teams import OWNER, at_file, request

Wrap = Callable[[Callable[[], Connection]], Callable[[], Any]] | None
"""Wraps each connection of the writer."""


class World:
    """What outlives the process: the file, and a client that remembers what it was told."""

    def __init__(self, path: Path, registry: AgentRegistry, entropy: random.Random) -> None:
        self.path = path
        self._registry = registry
        self.entropy = entropy
        self._given = at_file(
            path, max_concurrent_tasks=2, recover_max_attempts=1000, cancel_grace_seconds=1
        )
        self.ids: dict[str, str] = {}
        self.seen: dict[str, list[bytes]] = {}
        self.deleted: set[str] = set()
        self.deleting: set[str] = set()
        self.retried: set[str] = set()
        self.statuses: dict[str, str] = {}
        self.following: dict[str, asyncio.Task[None]] = {}
        self.drained = False
        self.life: Life

    def open(self, at: Callable[[str], None] = lambda _: None, *, connect: Wrap = None) -> None:
        """Begin a life; see `Life`."""
        self.life = Life(
            self.path, self._registry, self._given, entropy=self.entropy, at=at, connect=connect
        )
        self.life.open()

    async def submit(self, title: str, *roles: str, **fields: Any) -> None:
        """Start a task and read it; the same again when it is there."""
        if title in self.deleted:
            return
        submission = await self.life.service.submit(
            request(*roles, title=title, **fields), owner=OWNER, attach=True,
            idempotency_key=title, body_hash=title,
        )  # fmt: skip
        known = self.ids.get(title)
        if known != submission.task_id:
            assert known is None or title in self.deleting, "one key, two tasks"
            self.seen[submission.task_id] = []
        self.ids[title] = submission.task_id
        if submission.reader is not None:
            submission.reader.close()
        await self.read_on(submission.task_id)

    async def read_on(self, task_id: str) -> None:
        """Follow a task from where its reader stands, unless it is being followed."""
        if (following := self.following.get(task_id)) is not None and not following.done():
            return
        after = len(self.seen[task_id])
        reader = await self.life.service.attach(task_id, owner=OWNER, after=after)
        follow = self._follow(task_id, reader)
        self.following[task_id] = self.life.loop.create_task(follow)

    async def ask(self, title: str, control: str, **options: Any) -> bool:
        """Use a control; False when it is refused."""
        with suppress(TaskConflict):
            call = getattr(self.life.service, control)
            await call(self.ids[title], owner=OWNER, requested_by="me", **options)
            return True
        return False

    async def cancel(self, title: str) -> None:
        await self.ask(title, "cancel")

    async def retry(self, title: str) -> None:
        """Once, unless the answer got lost: then once more; its reader reads on."""
        if title not in self.retried and await self.ask(title, "retry"):
            self.retried.add(title)
        await self.read_on(self.ids[title])

    async def delete(self, title: str) -> None:
        if title in self.deleted:
            return
        self.deleting.add(title)
        with suppress(TaskNotFound):
            await self.life.service.delete(self.ids[title], owner=OWNER)
        self.deleted.add(title)

    async def reaches(self, title: str, *statuses: str) -> None:
        """Wait for a status, or for the end."""
        await self._until(
            lambda: title in self.deleted or self.life.status(self.ids[title]) in statuses, title
        )

    async def says(self, title: str, text: bytes) -> None:
        """Wait until its reader has seen something, or its end."""
        frames = self.seen[self.ids[title]]
        await self._until(lambda: any(text in frame for frame in frames), title)

    async def _until(self, condition: Callable[[], bool], title: str) -> None:
        pause = 0.002
        while not condition() and self.life.status(self.ids[title]) not in END_STATES:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 1)

    async def _follow(self, task_id: str, reader: Reader) -> None:
        try:
            while (piece := await reader.next()) is not None:
                self.seen[task_id] += split_frames(piece)
        except TaskNotFound:
            pass
        finally:
            reader.close()


Scenario = Callable[[World], Awaitable[None]]
"""What the client does; played from the beginning in every life."""


def live(
    here: World, play: Scenario, at: Callable[[str], None] = lambda _: None, *, connect: Wrap = None
) -> bool:
    """Open, play the scenario and let everything end; True if the process died on the way."""

    async def whole() -> None:
        while True:
            try:
                await play(here)
                break
            except StorageFull:  # a client comes again after a while
                await asyncio.sleep(1)
        await here.life.all_ended(every=0.5)
        await asyncio.gather(*here.following.values())

    here.following.clear()
    try:
        here.open(at, connect=connect)
        here.life.run(whole())
    except Crash:
        return True
    finally:
        if not here.life.fatal:
            here.statuses = {title: here.life.status(id) for title, id in here.ids.items()}
        here.life.bury()
    return False


def finish(here: World, ends: dict[str, str]) -> None:
    """Everything is there, once, as its readers saw it and as its agents said."""
    assert here.statuses == ends
    here.open()
    try:
        rows = {row.task_id: row for row in here.life.tasks()}
        kept = {title: id for title, id in here.ids.items() if ends[title]}
        assert set(rows) == set(kept.values()), "a task is lost, or was made up"
        for title, id in kept.items():
            log = here.life.log(id)
            check_prefix(here.seen[id], as_frames(log))
            assert len(here.seen[id]) == len(log), "its reader has seen all of it"
            written = [orjson.loads(event.data) for event in log]
            check_log(written)
            terminal = [e for e in written if e["type"] in ("task_complete", "task_error")]
            again = [e for e in written if e["type"] == "task_state" and e["reason"] == "retry"]
            assert len(terminal) == 1 + len(again)
            assert len(again) >= (title in here.retried)
            here.life.run(check_agents(here, id, written))
        check_leftovers(here)
    finally:
        here.life.bury()


async def check_agents(here: World, id: str, log: list[dict[str, Any]]) -> None:
    """Texts are those of the last attempts, files those that were named."""
    shot = await here.life.service.snapshot(id, owner=OWNER)
    for agent in shot["agents"]:
        role = agent["agentRole"]
        last = [e for e in log if e.get("agentRole") == role and e["attempt"] == agent["attempt"]]
        assert agent["content"] == "".join(e.get("content", "") for e in last)
        named = [
            e["artifact"]["name"] for e in log if e.get("agentRole") == role and "artifact" in e
        ]
        assert {artifact["name"] for artifact in agent["artifacts"]} == set(named)
        for artifact in agent["artifacts"]:
            found, pieces = await here.life.service.artifact(
                id, role, artifact["name"], owner=OWNER
            )
            content = b"".join([piece async for piece in pieces])
            assert len(content) == found.size == artifact["size"]
        if role == "remember":
            steps = [e["message"] for e in log if e.get("agentRole") == role and "message" in e]
            assert set(steps) <= set(agent["content"].split()), "a step that was shown is forgotten"


def check_leftovers(here: World) -> None:
    """No row belongs to nothing."""
    gone = "NOT IN (SELECT id FROM task WHERE deleted IS NULL)"
    with closing(sqlite3.connect(here.path)) as connection:
        for left in (
            "artifact WHERE NOT visible",
            "artifact_piece WHERE artifact NOT IN (SELECT id FROM artifact)",
            f"artifact WHERE task {gone}",
            f"event WHERE task {gone}",
            f"agent_run WHERE task {gone}",
            "agent_run WHERE status = 'running'",
            "dependency",
        ):
            assert connection.execute(f"SELECT count(*) FROM {left}").fetchone() == (0,), left
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
