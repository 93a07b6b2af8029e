"""A machine that does to a service whatever a day may bring, in any order, against a model.

Submit, repeat, read, leave, cancel, pause, resume, retry, delete, stop and start the worker loop,
let hours pass, make the wall clock jump, drain and start again, die at any moment or at a crash
point of the writer. The model knows what was promised
to whom. When the faults are over every task must end, as its agents and its owner said; each log
obeys the grammar and has one terminal event for each submit and each retry; what readers saw is a
prefix of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import shutil
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)  # fmt: skip

from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.errors import (
    AgentError,
    AlreadyRunning,
    CursorBeyondEnd,
    TaskConflict,
    TaskNotFound,
)  # fmt: skip
from orchestrator.runtime.submitting import Submission
from orchestrator.tasks import END_STATES
from tests.grammar import check_log, check_prefix, split_frames
from tests.orchestrator.runtime.virtual import (
    IN_MEMORY,
    Crash,
    Life,
    Stalled,
    as_frames,
    copied,
)  # fmt: skip
from tests.orchestrator.teams import OWNER, at_file, request, team

T = TypeVar("T")

POINTS = ("before_begin", "before_commit", "after_commit")
GRACE_SECONDS = 2.0
STUBBORN_SECONDS = 30.0
HANG_TIMEOUT_SECONDS = 40.0


async def _work(context: AgentContext) -> AgentResult:
    """Says something new each time, saves and checkpoints, and takes its time."""
    pace = float(context.inputs["pace"])
    if context.restored is None:
        await context.checkpoint({"nonce": secrets.token_hex(4)})
    await context.write(f"{secrets.token_hex(4)} ")
    await asyncio.sleep(pace)
    await context.save_artifact("file.bin", secrets.token_bytes(4))
    await context.progress(secrets.token_hex(4), done=1, total=2)
    await asyncio.sleep(pace)
    await context.write(secrets.token_hex(4))
    return AgentResult(output={"nonce": secrets.token_hex(4)})


async def _stumble(context: AgentContext) -> AgentResult:
    if context.attempt == 1:  # not every other one: those that were interrupted count as well
        await context.write(secrets.token_hex(4))
        raise AgentError("stumbled", retryable=True)
    return await _work(context)


async def _fail(context: AgentContext) -> None:
    await context.write(secrets.token_hex(4))
    raise AgentError("for good")


async def _hang(context: AgentContext) -> None:
    await context.progress("hanging")
    await asyncio.get_running_loop().create_future()


async def _stubborn(context: AgentContext) -> AgentResult:
    """Hears no cancel for half a minute once it was told to stop."""
    result: AgentResult | None = None
    until: float | None = None
    loop = asyncio.get_running_loop()
    while True:
        try:
            result = result or await _work(context)
            if until is not None and loop.time() < until:
                await asyncio.sleep(until - loop.time())
            return result
        except asyncio.CancelledError:
            until = until or loop.time() + STUBBORN_SECONDS
            if loop.time() >= until:
                raise


def agents() -> AgentRegistry:
    """w works, s stumbles first, x fails, h hangs, z does not stop when it is told to."""
    options = {"s": AgentOptions(max_attempts=2, retry_delay_seconds=3)}
    return team(options, w=_work, s=_stumble, x=_fail, h=_hang, z=_stubborn)


@dataclass
class Promise:
    """What the model knows of one task."""

    id: str
    key: str
    roles: list[str]
    mode: str
    on_restart: str
    after: list[Promise] = field(repr=False)
    crashes: int = 0
    """How often the process died before it had ended."""
    cancelled: bool = False
    """Whether a cancel was accepted."""
    refused: bool = False
    """Whether a cancel was refused, so that it had ended."""
    deleted: bool = False
    paused: bool = False
    """Whether a pause was accepted and nobody let it go on."""
    retried: bool = False
    """Whether a retry was accepted."""
    broke: bool = False
    """Whether it may have ended otherwise than completed before it was retried."""
    seen: list[bytes] = field(default_factory=list, repr=False)
    """Frames with an id, over all connections of its one reader."""

    @property
    def verdict(self) -> str:
        """How it ends if nothing comes in between."""
        if self.mode == "sequential":
            for role in self.roles:
                if role in "xh":
                    return {"x": "failed", "h": "timed_out"}[role]
            return "completed"
        if "h" in self.roles:
            return "timed_out"
        return "failed" if set(self.roles) == {"x"} else "completed"

    def may_end(self) -> set[str]:
        """How it may have ended."""
        if self.cancelled:
            return {"cancelled"}
        ends = {self.verdict}
        if self.on_restart == "fail" and self.crashes:
            ends.add("failed")
        if any(first.may_break for first in self.after):
            ends.add("cancelled")
        return ends

    @property
    def may_break(self) -> bool:
        """Whether tasks that wait for it may have been broken."""
        return self.broke or self.may_end() != {"completed"}

    def try_again(self) -> None:
        """A retry was accepted: what was, counts no more."""
        self.broke = self.broke or self.may_end() != {"completed"}
        self.retried = True
        self.cancelled = self.refused = self.paused = False
        self.crashes = 0


class Day(RuleBasedStateMachine):
    """One process after the other on one file."""

    tasks: Bundle[Promise] = Bundle("tasks")
    empty: Path

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=IN_MEMORY))
        self.path = copied(self.empty, self.folder)
        self.given = at_file(
            self.path, max_concurrent_tasks=2, recover_max_attempts=1000, max_stragglers=1,
            cancel_grace_seconds=GRACE_SECONDS,
            task_history_retention_days=100_000,  # the clock jumps; old age has tests of its own
        )  # fmt: skip
        self.promises: dict[str, Promise] = {}
        self.reading: dict[str, asyncio.Task[None]] = {}
        self.looked_at: dict[str, tuple[Life, int]] = {}
        self.trap: tuple[str, int] | None = None
        self.offset_ms = 1_700_000_000_000
        self.life: Life

    @initialize(chance=st.integers(0, 2**32 - 1))
    def begin(self, chance: int) -> None:
        self.entropy = random.Random(chance)
        self._open()

    # -- lives ----------------------------------------------------------------------------------

    def _at(self, point: str) -> None:
        if self.trap is not None and self.trap[0] == point:
            self.trap = (point, self.trap[1] - 1)
            if self.trap[1] <= 0:
                self.trap = None
                raise Crash

    def _open(self) -> None:
        now = self.life.loop.time() if hasattr(self, "life") else 0.0
        while True:
            self.life = Life(
                self.path, agents(), self.given, entropy=self.entropy, at=self._at, now=now
            )
            self.life.clock.offset_ms = self.offset_ms
            try:
                self.life.open()
                return
            except Crash:
                self._died()

    def _died(self) -> None:
        for promise in self.promises.values():
            promise.crashes += self.life.status(promise.id) not in END_STATES
        self.reading.clear()
        self.life.bury()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T | None:
        """Play it; None when the process died meanwhile, and another one runs."""
        try:
            return self.life.run(coroutine)
        except Crash:
            self._died()
            self._open()
            return None

    # -- what may happen ------------------------------------------------------------------------

    @rule(
        target=tasks,
        roles=st.lists(st.sampled_from("wsxhz"), min_size=1, max_size=3, unique=True),
        mode=st.sampled_from(["sequential", "parallel"]),
        key=st.sampled_from("abcdefgh"),
        on_restart=st.sampled_from(["resume", "resume", "fail"]),
        pace=st.sampled_from([0, 0.002, 1, 100]),
        after=st.lists(tasks, max_size=2),
        attach=st.booleans(),
    )
    def submit(
        self, roles: list[str], mode: str, key: str, on_restart: str, pace: float,
        after: list[Promise], attach: bool,
    ) -> Any:  # fmt: skip
        known = self.promises.get(key)
        if known is not None:
            roles, mode = known.roles, known.mode
            on_restart, after = known.on_restart, known.after
        else:
            after = [first for first in after if not first.deleted]
        fields: dict[str, Any] = {"timeoutSeconds": HANG_TIMEOUT_SECONDS} if "h" in roles else {}
        task = request(
            *roles, executionMode=mode, title=key, onRestart=on_restart,
            after=[first.id for first in after], inputs={"pace": pace if not fields else 0.5},
            onAgentError="stop" if mode == "sequential" else "continue", **fields,
        )  # fmt: skip
        submission: Submission | None = None
        deaths = -1  # of a process that may have stored it and begun
        while submission is None:  # who saw the connection break sends the same again
            deaths += 1
            submission = self._run(
                self.life.service.submit(
                    task, owner=OWNER, attach=attach, idempotency_key=key, body_hash=key
                )
            )
        if known is not None:
            assert submission.task_id == known.id, "one key, two tasks"
            assert submission.replayed
            if submission.reader is not None:
                submission.reader.close()
            return multiple()
        promise = Promise(submission.task_id, key, roles, mode, on_restart, after, deaths)
        self.promises[key] = promise
        if submission.reader is not None:
            self._follow(promise, submission.reader)
        return promise

    @rule(
        target=tasks,
        keys=st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=6, unique=True),
        cancelled=st.integers(0, 63),
    )
    def many_come_at_once_and_twice(self, keys: list[str], cancelled: int) -> Any:
        """More than can run; each POST is doubled, some are cancelled in the same moment."""
        fresh = [key for key in keys if key not in self.promises]

        async def post(key: str) -> Submission:
            task = request("w", title=key, inputs={"pace": 600})
            return await self.life.service.submit(
                task, owner=OWNER, idempotency_key=key, body_hash=key
            )

        async def post_all() -> list[Submission]:
            return await asyncio.gather(*(post(key) for key in (*fresh, *fresh)))

        answers: list[Submission] | None = None
        while answers is None:
            answers = self._run(post_all())
        for index, key in enumerate(fresh):
            first, second = answers[index], answers[index + len(fresh)]
            assert first.task_id == second.task_id, "one key, two tasks"
            assert first.replayed or second.replayed
            self.promises[key] = Promise(first.task_id, key, ["w"], "sequential", "resume", [])
        promises = [self.promises[key] for key in fresh]
        self._cancel_at_once([p for n, p in enumerate(promises) if cancelled >> n & 1])
        return multiple(*promises)

    @rule(promises=st.lists(tasks, min_size=2, max_size=5, unique_by=id))
    def cancel_several(self, promises: list[Promise]) -> None:
        self._cancel_at_once([promise for promise in promises if not promise.deleted])

    def _cancel_at_once(self, promises: list[Promise]) -> None:
        async def cancel(promise: Promise) -> None:
            try:
                await self.life.service.cancel(promise.id, owner=OWNER, requested_by="me")
            except TaskConflict:
                promise.refused = promise.refused or not promise.cancelled
            else:
                assert not promise.refused, "what had ended is cancelled"
                promise.cancelled = True

        async def cancel_all() -> bool:
            await asyncio.gather(*map(cancel, (*promises, *promises)))
            return True

        while not self._run(cancel_all()):
            pass

    @rule(promise=tasks)
    def cancel(self, promise: Promise) -> None:
        async def act() -> str:
            try:
                return await self.life.service.cancel(promise.id, owner=OWNER, requested_by="me")
            except TaskConflict:
                return "refused"
            except TaskNotFound:
                return "gone"

        answer = None
        while answer is None:
            answer = self._run(act())
        assert (answer == "gone") == promise.deleted
        if answer == "refused":
            assert not promise.cancelled, "a cancel that is repeated is harmless"
            promise.refused = True
        elif answer != "gone":
            assert not promise.refused, "what had ended is cancelled"
            promise.cancelled = True

    @rule(promise=tasks, stop_now=st.booleans())
    def pause(self, promise: Promise, stop_now: bool) -> None:
        if self._control(promise, "pause", stop_now=stop_now):
            promise.paused = True

    @rule(promise=tasks)
    def resume(self, promise: Promise) -> None:
        if self._control(promise, "resume"):
            promise.paused = False

    @rule(promise=tasks)
    def retry(self, promise: Promise) -> None:
        if self._control(promise, "retry"):
            promise.try_again()

    def _control(self, promise: Promise, name: str, **options: Any) -> bool:
        """Ask until there is an answer; True when it was accepted."""

        async def act() -> bool:
            call = getattr(self.life.service, name)
            try:
                await call(promise.id, owner=OWNER, requested_by="me", **options)
            except TaskConflict:
                return False
            except TaskNotFound:
                assert promise.deleted, "nobody deleted it"
                return False
            assert not promise.deleted
            return True

        answer = None
        while answer is None:
            answer = self._run(act())
        return answer

    @rule(now=st.booleans())
    def stop_the_worker_loop(self, now: bool) -> None:
        self._run(self.life.service.runner.stop(by="me", now=now))

    @rule()
    def start_the_worker_loop(self) -> None:
        async def act() -> None:
            with contextlib.suppress(AlreadyRunning):
                await self.life.service.runner.start(by="me")

        self._run(act())

    @rule(promise=tasks)
    def delete(self, promise: Promise) -> None:
        async def act() -> bool:
            with contextlib.suppress(TaskConflict):
                await self.life.service.delete(promise.id, owner=OWNER)
                return True
            return False

        life, gone = self.life, None
        try:
            while gone is None:
                gone = self._run(act())
        except TaskNotFound:
            assert promise.deleted or life is not self.life, "nobody deleted it"
            gone = True
        if gone and not promise.deleted:
            promise.deleted = True
            del self.promises[promise.key]

    @rule(promise=tasks)
    def read(self, promise: Promise) -> None:
        if promise.deleted or promise.id in self.reading:
            return
        after = len(promise.seen)
        reader = self._run(self.life.service.attach(promise.id, owner=OWNER, after=after))
        if reader is not None:
            self._follow(promise, reader)

    @rule(promise=tasks, beyond=st.integers(1, 5))
    def read_with_a_cursor_that_is_wrong(self, promise: Promise, beyond: int) -> None:
        if promise.deleted or self.life.status(promise.id) not in END_STATES:
            return
        end = len(self.life.log(promise.id))

        async def act() -> None:
            with pytest.raises(CursorBeyondEnd):
                await self.life.service.attach(promise.id, owner=OWNER, after=end + beyond)

        self._run(act())

    @rule(promise=tasks)
    def leave(self, promise: Promise) -> None:
        reading = self.reading.pop(promise.id, None)
        if reading is not None:
            reading.cancel()
            self._run(asyncio.sleep(0))

    @rule(seconds=st.sampled_from([0.0005, 0.002, 0.004, 0.5, 3, 60, 5000]))
    def pass_time(self, seconds: float) -> None:
        self._run(asyncio.sleep(seconds))

    @rule(days=st.sampled_from([-400, -1, 1, 40]))
    def wall_clock_jumps(self, days: int) -> None:
        self.offset_ms += days * 86_400_000
        self.life.clock.offset_ms = self.offset_ms

    @rule(seconds=st.sampled_from([0, 0.001, 5]))
    def drain_and_start_again(self, seconds: float) -> None:
        try:
            self.life.close(seconds)
        except Crash:
            self._died()
        else:
            self.reading.clear()
        self._open()

    @rule()
    def crash_and_start_again(self) -> None:
        self._died()
        self._open()

    @rule(point=st.sampled_from(POINTS), nth=st.integers(1, 6))
    def will_crash(self, point: str, nth: int) -> None:
        self.trap = (point, nth)

    # -- what must hold -------------------------------------------------------------------------

    @invariant()
    def what_was_seen_is_a_prefix(self) -> None:
        for promise in self.promises.values():
            looked_at = (self.life, len(promise.seen))
            if self.looked_at.get(promise.id) != looked_at:
                check_prefix(promise.seen, as_frames(self.life.log(promise.id)))
                self.looked_at[promise.id] = looked_at

    def teardown(self) -> None:
        try:
            if hasattr(self, "life"):
                self.trap = None
                self._finish()
        finally:
            if hasattr(self, "life"):
                self.life.bury()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _finish(self) -> None:
        self.pass_time(500)
        for promise in self.promises.values():
            status = self.life.status(promise.id)
            assert status != "running" or not promise.paused, f"{promise} is {status}"
            self._control(promise, "resume")
        self.start_the_worker_loop()
        try:
            self.life.run(self.life.all_ended(every=100))
        except (Stalled, TimeoutError):
            left = {t.task_id: (t.title, t.status) for t in self.life.tasks(unfinished=True)}
            logs = [as_frames(self.life.log(id)) for id in left]
            raise AssertionError(f"these never end: {left} {logs}") from None
        rows = {row.task_id: row for row in self.life.tasks()}
        assert {promise.id for promise in self.promises.values()} == set(rows), "lost or made up"
        for promise in self.promises.values():
            stored = self.life.log(promise.id)
            check_prefix(promise.seen, as_frames(stored))
            log = [orjson.loads(event.data) for event in stored]
            check_log(log)
            terminal = [e["type"] for e in log if e["type"] in ("task_complete", "task_error")]
            retries = [e["reason"] for e in log if e["type"] == "task_state"].count("retry")
            assert len(terminal) == 1 + retries, "one terminal event for each submit and retry"
            assert retries >= promise.retried, "a retry that was accepted is lost"
            assert rows[promise.id].last_seq == len(log)
            self._check_snapshot(promise, log)
            assert rows[promise.id].status in promise.may_end(), (rows[promise.id], promise)
            if promise.after and log[-1].get("code") == "dependency_failed":
                ends = [rows[f.id].status for f in promise.after if f.id in rows]
                retried = any(first.broke for first in promise.after)
                assert set(ends) != {"completed"} or retried or len(ends) < len(promise.after)
        assert self.life.service.worker._taken == 0, "a slot was not given back"
        assert not self.life.fatal

    def _check_snapshot(self, promise: Promise, log: list[dict[str, Any]]) -> None:
        shot = self.life.run(self.life.service.snapshot(promise.id, owner=OWNER))
        assert shot["lastEventId"] == len(log)
        for agent in shot["agents"]:
            mine = [event for event in log if event.get("agentRole") == agent["agentRole"]]
            last = max((event["attempt"] for event in mine), default=0)
            assert agent["attempt"] == last
            said = (e.get("content", "") for e in mine if e["attempt"] == last)
            assert agent["content"] == "".join(said)

    # -- readers --------------------------------------------------------------------------------

    def _follow(self, promise: Promise, reader: Any) -> None:
        async def follow() -> None:
            rest = b""
            try:
                while (piece := await reader.next()) is not None:
                    rest += piece
                    promise.seen += split_frames(rest)
                    rest = b""
            except TaskNotFound:
                pass
            finally:
                reader.close()

        if promise.id in self.reading or promise.seen:
            reader.close()  # one reader for each is enough
        else:
            self.reading[promise.id] = self.life.loop.create_task(follow())


COMMON = settings(
    stateful_step_count=20,
    deadline=None,
    print_blob=True,
    phases=[Phase.generate],  # a day of at most twenty steps can be read as it is
    database=None,
    suppress_health_check=list(HealthCheck),
)


def simulate(number: int, *, examples: int, migrated: Path) -> None:
    """Play so many days, all drawn from one seed."""
    print(f"seed {number}")
    Day.empty = migrated
    machine = seed(number)(type("Day", (Day,), {}))
    run_state_machine_as_test(machine, settings=settings(COMMON, max_examples=examples))


@pytest.mark.timeout(180)
@pytest.mark.slow
def test_whatever_a_day_brings_every_task_ends_as_promised(migrated: Path) -> None:
    simulate(20261125, examples=200, migrated=migrated)


@pytest.mark.soak
@pytest.mark.parametrize("number", range(30))
def test_many_days_of_many_seeds(number: int, migrated: Path) -> None:
    simulate(secrets.randbits(32), examples=350, migrated=migrated)
