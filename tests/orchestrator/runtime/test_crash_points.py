"""Every scenario dies once at every crash point of the writer, and again in its own recovery.

Whoever was cut off does what clients do: sends the same again, with the same key. In the end all is
as if nothing had happened, except for attempts that were interrupted and say so.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.errors import AgentError, AlreadyRunning, TaskConflict, TaskNotFound
from orchestrator.runtime.channels import Reader
from orchestrator.store.artifacts import PIECE_BYTES
from orchestrator.tasks import END_STATES
from tests.grammar import check_log, check_prefix, split_frames
from tests.orchestrator.runtime.virtual import (
    Crash,
    Life,
    as_frames,
    copied,
    empty_database,
)  # fmt: skip
from tests.orchestrator.teams import OWNER, at_file, hang, request, team

POINTS = ("before_begin", "before_commit", "after_commit")
IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


# -- agents --------------------------------------------------------------------------------------


async def _write(context: AgentContext) -> AgentResult:
    await context.write(f"{secrets.token_hex(8)} ")
    await asyncio.sleep(0.01)
    await context.progress(secrets.token_hex(8), done=1, total=2)
    await context.write(secrets.token_hex(8))
    return AgentResult(output={"nonce": secrets.token_hex(8)})


async def _save(context: AgentContext) -> None:
    """Two files of several pieces, one of them twice."""
    for name in ("a.bin", "b.bin", "a.bin"):
        await context.save_artifact(name, secrets.token_bytes(PIECE_BYTES + 10))


async def _remember(context: AgentContext) -> None:
    """Counts its steps over its attempts; each is taken once it is stored."""
    steps = context.restored or []
    while len(steps) < 3:
        step = secrets.token_hex(4)
        steps = [*steps, step]
        await context.checkpoint(steps)
        await context.progress(step)
    await context.write(" ".join(steps))


async def _stumble(context: AgentContext) -> AgentResult:
    if context.attempt % 3:
        await context.write(secrets.token_hex(8))
        raise AgentError("once more", retryable=True)
    return await _write(context)


async def _fail(context: AgentContext) -> None:
    raise AgentError("for good")


async def _wait(context: AgentContext) -> None:
    await context.write("waiting")
    await asyncio.sleep(5)


async def _deaf(context: AgentContext) -> None:
    await context.progress("hanging")
    end = asyncio.get_running_loop().time() + 20
    while asyncio.get_running_loop().time() < end:
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(1)


def agents() -> AgentRegistry:
    options = {"stumble": AgentOptions(max_attempts=3, retry_delay_seconds=1)}
    return team(
        options, a=_write, b=_write, save=_save, remember=_remember, stumble=_stumble, bad=_fail,
        wait=_wait, hang=hang, deaf=_deaf,
    )  # fmt: skip


# -- the client of all lives ---------------------------------------------------------------------


class World:
    """What outlives the process: the file, and a client that remembers what it was told."""

    def __init__(self, path: Path, entropy: random.Random) -> None:
        self.path = path
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

    def open(self, at: Callable[[str], None] = lambda _: None) -> None:
        self.life = Life(self.path, agents(), self._given, entropy=self.entropy, at=at)
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
SCENARIOS: dict[str, tuple[Scenario, dict[str, str]]] = {}


def scenario(**ends: str) -> Callable[[Scenario], Scenario]:
    """One that a client can play again from the beginning; how its tasks end, by title."""

    def add(play: Scenario) -> Scenario:
        SCENARIOS[play.__name__] = (play, ends)
        return play

    return add


@scenario(one="completed", two="completed")
async def agents_one_after_another(world: World) -> None:
    await world.submit("one", "a", "b")
    await world.submit("two", "bad", "b", onAgentError="continue")


@scenario(one="completed")
async def artifacts_and_checkpoints(world: World) -> None:
    await world.submit("one", "save", "remember", executionMode="parallel")


@scenario(one="completed", two="failed")
async def attempts_that_are_tried_again(world: World) -> None:
    await world.submit("one", "stumble", "a", executionMode="parallel")
    await world.submit("two", "stumble", "bad")


@scenario(running="cancelled", queued="cancelled", deaf="cancelled", other="completed")
async def cancels(world: World) -> None:
    await world.submit("running", "a", "hang")
    await world.submit("deaf", "deaf")
    await world.submit("queued", "b")
    await world.submit("other", "a")
    await world.cancel("queued")
    await world.says("running", b"hanging")
    await world.says("deaf", b"hanging")
    await asyncio.gather(world.cancel("running"), world.cancel("deaf"))


@scenario(first="failed", then="cancelled", last="cancelled", good="completed", late="completed")
async def tasks_that_wait_for_others(world: World) -> None:
    await world.submit("first", "bad")
    await world.submit("good", "a")
    await world.submit("then", "a", after=[world.ids["first"]])
    await world.submit("last", "a", after=[world.ids["then"], world.ids["good"]])
    await world.submit("late", "b", after=[world.ids["good"]])


@scenario(one="completed", two="completed", three="completed")
async def a_drain_that_hands_back(world: World) -> None:
    await world.submit("one", "a", "wait")
    await world.submit("two", "wait", "b", executionMode="parallel")
    await world.submit("three", "a")
    await world.says("one", b"waiting")
    if not world.drained:
        world.drained = True
        await world.life.service.drain(0.1)
        assert world.life.writer is not None
        await world.life.writer.close()
        await world.life.end()


@scenario(gone="", kept="completed")
async def deletions(world: World) -> None:
    await world.submit("gone", "save", "a")
    await world.reaches("gone", "completed")
    await world.submit("kept", "save")
    await world.delete("gone")
    await world.reaches("kept", "completed")


@scenario(soon="completed", later="completed", queued="completed")
async def pauses(world: World) -> None:
    await world.submit("soon", "a", "wait", "b")
    await world.submit("later", "wait", "b")
    await world.submit("queued", "a")
    await world.ask("queued", "pause")
    await world.says("soon", b"waiting")
    await world.says("later", b"waiting")
    await asyncio.gather(world.ask("soon", "pause", stop_now=True), world.ask("later", "pause"))
    await asyncio.gather(world.reaches("soon", "paused"), world.reaches("later", "paused"))
    for title in ("soon", "later", "queued"):
        await world.ask(title, "resume")


@scenario(bad="failed", hanging="cancelled", late="timed_out")
async def retries(world: World) -> None:
    await world.submit("bad", "a", "stumble", "bad")
    await world.submit("hanging", "a", "hang")
    await world.submit("late", "hang", timeoutSeconds=5)
    await world.says("hanging", b"hanging")
    await world.ask("hanging", "cancel")
    for title in ("bad", "hanging", "late"):
        await world.reaches(title)
        await world.retry(title)
    await world.ask("hanging", "cancel")


@scenario(one="completed", two="completed")
async def a_stop_of_the_worker_loop(world: World) -> None:
    runner = world.life.service.runner
    await world.submit("one", "a", "wait")
    await world.says("one", b"waiting")
    await runner.stop(by="me", now=True)
    await world.submit("two", "b")
    with suppress(AlreadyRunning):
        await runner.start(by="me")


@scenario(late="timed_out", budget="failed")
async def limits_that_are_reached(world: World) -> None:
    await world.submit("late", "a", "hang", timeoutSeconds=30)
    await world.submit("budget", "hang", budget={"seconds": 10})


# -- the proof -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to copy."""
    return empty_database(tmp_path_factory.mktemp("empty"))


@pytest.fixture
def world(empty: Path) -> Iterator[Callable[[int], World]]:
    """Makes worlds, each from one seed."""
    folders = []

    def make(number: int) -> World:
        folder = TemporaryDirectory(prefix="crashes-", dir=IN_MEMORY)
        folders.append(folder)
        return World(copied(empty, Path(folder.name)), random.Random(number))

    yield make
    for folder in folders:
        folder.cleanup()


# Before a transaction the file is as it was after the one before it: only what was told differs.
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize(
    "point",
    [pytest.param("before_begin", marks=pytest.mark.soak), "before_commit", "after_commit"],
)
def test_a_crash_at_any_point_loses_nothing(
    name: str, point: str, world: Callable[[int], World]
) -> None:
    play, ends = SCENARIOS[name]
    for nth in range(1, 1000):
        here, trap = world(nth), Trap(point, nth)
        live(here, play, trap)
        if trap.sprung:  # and the recovery dies too, each time somewhere else
            live(here, play, Trap(POINTS[nth % 3], 1 + nth % 5))
        while live(here, play, Trap("", 0)):
            pass
        finish(here, ends)
        if not trap.sprung:
            assert nth > 8, "the scenario has fewer commits than it should"
            return
    raise AssertionError("the scenario never came to its end")


@pytest.mark.parametrize("point", POINTS)
def test_a_recovery_that_dies_again_and_again_comes_through(
    point: str, world: Callable[[int], World]
) -> None:
    """Of a moment with everything in it: the next life dies at each of its first points in turn."""

    async def play(here: World) -> None:
        await cancels(here)
        await artifacts_and_checkpoints(here)

    here = world(1)
    assert live(here, play, Trap("before_commit", 30))
    for nth in range(1, 15):
        live(here, play, Trap(point, nth))
    while live(here, play, Trap("", 0)):
        pass
    finish(here, {**SCENARIOS["cancels"][1], "one": "completed"})


class Trap:
    """Ends the process the n-th time it passes a point."""

    def __init__(self, point: str, nth: int) -> None:
        self._point = point
        self._left = nth

    def __call__(self, point: str) -> None:
        self._left -= point == self._point
        if self.sprung:
            raise Crash

    @property
    def sprung(self) -> bool:
        return bool(self._point) and self._left <= 0


def live(here: World, play: Scenario, trap: Trap) -> bool:
    """Open, play the scenario and let everything end; True if the process died on the way."""

    async def whole() -> None:
        await play(here)
        await here.life.all_ended(every=0.5)
        await asyncio.gather(*here.following.values())

    here.following.clear()
    try:
        here.open(trap)
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
