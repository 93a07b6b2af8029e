"""A machine that does to a service whatever a day may bring, in any order, and looks at every log.

Submit, cancel, let agents go on, read, leave, delete, drain and start again, crash and start again:
after each step what readers have seen is a prefix of the log; in the end every task has ended.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, TypeVar

import orjson
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    multiple,
    precondition,
    rule,
)  # fmt: skip

from orchestrator.agents import AgentContext, AgentOptions
from orchestrator.errors import AgentError, TaskConflict, TaskNotFound
from orchestrator.runtime.channels import Reader
from orchestrator.runtime.service import TaskService
from orchestrator.store.database import Database
from orchestrator.store.listing import TaskFilter
from orchestrator.store.migrations import migrate
from tests.grammar import check_log, check_prefix, split_frames
from tests.orchestrator.teams import OWNER, at_file, eventually, request, service, team

T = TypeVar("T")


class Day(RuleBasedStateMachine):
    """One service after the other on one file."""

    tasks: Bundle[str] = Bundle("tasks")

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-"))
        self.lives = 0
        self.path = self.folder / "0" / "tasks.db"
        self.path.parent.mkdir()
        database = Database(self.path)
        migrate(database)
        database.close()
        self.gates: dict[str, asyncio.Event] = {}
        self.seen: dict[str, bytes] = {}
        self.readers: dict[str, Reader] = {}
        self.ids: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.old: list[AbstractAsyncContextManager[TaskService]] = []
        self._open()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(coroutine, 20))

    def _open(self) -> None:
        async def work(context: AgentContext) -> None:
            while True:
                gate = self.gates.setdefault(context.task.title, asyncio.Event())
                await context.write(f"{secrets.token_hex(4)} ")
                await gate.wait()
                await context.progress(secrets.token_hex(4))
                return

        async def stumble(context: AgentContext) -> None:
            await work(context)
            if context.attempt % 2:
                raise AgentError("stumbled", retryable=True)

        async def bad(context: AgentContext) -> None:
            await work(context)
            raise AgentError("for good")

        options = {"s": AgentOptions(max_attempts=2, retry_delay_seconds=0.001)}
        given = at_file(
            self.path, max_concurrent_tasks=2, recover_max_attempts=100, cancel_grace_seconds=0.05
        )
        self.life = service(team(options, w=work, s=stumble, x=bad), given)
        self.opened = self.run(self.life.__aenter__())

    # -- what may happen ------------------------------------------------------------------------

    @rule(
        target=tasks,
        roles=st.lists(st.sampled_from("wsx"), min_size=1, max_size=3, unique=True),
        mode=st.sampled_from(["sequential", "parallel"]),
        key=st.sampled_from("abcdefgh"),
    )
    def submit(self, roles: list[str], mode: str, key: str) -> Any:
        async def act() -> str:
            given = await self.opened.submit(
                request(*roles, executionMode=mode, title=key), owner=OWNER, attach=True,
                idempotency_key=key, body_hash="h",
            )  # fmt: skip
            assert given.reader is not None
            given.reader.close()
            return given.task_id

        known = self.ids.get(key)
        if known is None or known in self.deleted:
            self.gates[key] = asyncio.Event()
            self.ids[key] = self.run(act())
            return self.ids[key]
        assert self.run(act()) == known, "one key, two tasks"
        return multiple()

    @rule(first=tasks)
    def submit_after(self, first: str) -> None:
        async def act() -> None:
            task = request("w", after=[first], title=f"after {first[:8]}")
            await self.opened.submit(task, owner=OWNER)

        if first not in self.deleted:
            self.run(act())

    @rule(key=st.sampled_from("abcdefgh"))
    def go_on(self, key: str) -> None:
        self.gates.setdefault(key, asyncio.Event()).set()
        self.run(asyncio.sleep(0.002))

    @rule(task=tasks)
    def cancel(self, task: str) -> None:
        async def act() -> None:
            try:
                await self.opened.cancel(task, owner=OWNER, requested_by="me")
            except TaskConflict:
                pass
            except TaskNotFound:
                assert task in self.deleted

        self.run(act())

    @rule(task=tasks)
    def delete(self, task: str) -> None:
        async def act() -> None:
            try:
                await self.opened.delete(task, owner=OWNER)
                self.deleted.add(task)
            except (TaskConflict, TaskNotFound):
                pass

        self.run(act())

    @rule(task=tasks)
    def read(self, task: str) -> None:
        async def act() -> None:
            if task not in self.readers:
                after = len(split_frames(self.seen.get(task, b"")))
                self.readers[task] = await self.opened.attach(task, owner=OWNER, after=after)
            reader = self.readers[task]
            if reader.ready:
                self.seen[task] = self.seen.get(task, b"") + (await reader.next() or b"")

        try:
            self.run(act())
        except TaskNotFound:
            assert task in self.deleted

    @rule(task=tasks)
    def leave(self, task: str) -> None:
        if task in self.readers:
            self.readers.pop(task).close()

    @rule()
    def drain_and_start_again(self) -> None:
        self._leave_all()
        self.run(self.life.__aexit__(None, None, None))
        self._open()

    @precondition(lambda self: self.lives < 3)
    @rule()
    def crash_and_start_again(self) -> None:
        """Go on with the files as they are this moment; the old life is over for all others."""
        self._leave_all()
        self.lives += 1
        folder = self.folder / str(self.lives)
        folder.mkdir()

        # Between two transactions: the files are what a kill would leave.
        def copy(_: object) -> None:
            for suffix in ("", "-wal"):
                source = Path(f"{self.path}{suffix}")
                if source.exists():
                    shutil.copy(source, folder / source.name)

        self.run(_submitted(self.opened, copy))
        self.old.append(self.life)
        self.path = folder / "tasks.db"
        self.gates = {}
        self._open()

    @invariant()
    def what_was_seen_is_a_prefix(self) -> None:
        for task, seen in self.seen.items():
            if task not in self.deleted:
                check_prefix(split_frames(seen), self.run(self._frames(task)))

    # -- the end --------------------------------------------------------------------------------

    def teardown(self) -> None:
        try:
            self.run(self._finish())
        finally:
            self._leave_all()
            for life in (self.life, *self.old):
                self.run(life.__aexit__(None, None, None))
            self.runner.close()
            shutil.rmtree(self.folder)

    async def _finish(self) -> None:
        async def ended() -> bool:
            for gate in self.gates.values():
                gate.set()
            return not await self.opened.counts()

        try:
            await eventually(ended, seconds=5)
        except AssertionError:
            page, _ = await self.opened.list(TaskFilter(unfinished=True), before=None, limit=10)
            logs = {task["taskId"]: await self._frames(task["taskId"]) for task in page}
            worker = self.opened.worker
            raise AssertionError(f"unfinished: {page} {logs} slots {worker._taken}") from None
        page, _ = await self.opened.list(TaskFilter(), before=None, limit=1000)
        for task in page:
            stored, _ = await self.opened.events(task["taskId"], owner=OWNER, after=0, limit=10_000)
            check_log([orjson.loads(event.data) for event in stored])
        await eventually(lambda: self.opened.worker._taken == 0)
        known = {task["taskId"] for task in page}
        assert set(self.ids.values()) - self.deleted <= known

    async def _frames(self, task: str) -> list[bytes]:
        stored, _ = await self.opened.events(task, owner=OWNER, after=0, limit=10_000)
        return [f"id: {e.seq}\nevent: {e.type}\ndata: {e.data}\n\n".encode() for e in stored]

    def _leave_all(self) -> None:
        for reader in self.readers.values():
            reader.close()
        self.readers.clear()


async def _submitted(opened: TaskService, copy: Any) -> None:
    await opened._writer.submit(copy)


Day.TestCase.settings = settings(
    max_examples=15,
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    phases=[Phase.explicit, Phase.generate],
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
TestDay = Day.TestCase
