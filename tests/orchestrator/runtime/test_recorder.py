"""The recorder of a run: its buffer, what merges, and what its answers mean."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from orchestrator.clock import Clock
from orchestrator.errors import AppendRefused, AttemptClosed
from orchestrator.events import ArtifactInfo, Draft
from orchestrator.runtime import recorder as module
from orchestrator.runtime.recorder import BUFFER_EVENTS, MERGED_BYTES, LogRecorder
from orchestrator.store import events, submissions
from orchestrator.store.database import Database
from orchestrator.store.events import Appended, RunKey, StoredEvent
from orchestrator.store.quotas import Quotas
from orchestrator.store.submissions import NewTask, Submitted
from orchestrator.store.writer import Writer
from orchestrator.tasks import TaskRequest
from tests.grammar import check_log
from tests.orchestrator.store.databases import Gate, sql, writing


class StoppedClock(Clock):
    """Whose wall time goes on by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000_000

    def wall_ms(self) -> int:
        return self.now_ms


class ShowGate(Gate):
    """Holds the transaction that shows an artifact of one piece."""

    def __init__(self) -> None:
        super().__init__()
        self.transactions_before: int | None = None

    def __call__(self, point: str) -> None:
        if point == "before_begin" and self.transactions_before is not None:
            self.transactions_before -= 1
            if self.transactions_before == 0:
                self._open.clear()
        super().__call__(point)

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, 10)


class Bench:
    """A claimed task, its recorder, and everything that was published."""

    def __init__(self, database: Database, writer: Writer, run: RunKey, **options: Any) -> None:
        self.database = database
        self.writer = writer
        self.run = run
        self.published: list[StoredEvent] = []
        self.clock = StoppedClock()
        given = {"max_log_bytes": 10**9, "log_bytes": 0, **options}
        self.recorder = LogRecorder(
            writer, run, self._publish, clock=self.clock, active_ms=0, last_seq=1, **given
        )

    def _publish(self, appended: Appended) -> None:
        self.published += appended.events

    async def start(self, role: str = "a", attempt: int = 1) -> None:
        fields = {"agentRole": role, "attempt": attempt, "agentName": "", "agentDescription": ""}
        await self.recorder.record(Draft("agent_start", fields, 0))

    async def say(self, role: str = "a", /, attempt: int = 1, **fields: Any) -> None:
        fields = {"agentRole": role, "attempt": attempt, **fields}
        await self.recorder.record(Draft("agent_progress", fields, 0))

    async def end(self, role: str = "a", attempt: int = 1, *, last: bool = False) -> None:
        fields = {
            "agentRole": role, "attempt": attempt, "status": "success", "executionTime": 1,
            "hasArtifacts": False, "artifacts": [],
        }  # fmt: skip
        await self.recorder.end_attempt(Draft("agent_complete", fields, 0), None, last=last)

    async def finish(self) -> None:
        fields = {"totalExecutionTime": 1, "outputs": 1, "failedAgents": []}
        await self.recorder.finish(
            Draft("task_complete", fields, 0), completed=1, failed=0,
            publish=lambda ended: self._publish(ended.own),
        )  # fmt: skip

    async def log(self) -> list[dict[str, Any]]:
        rows = await self.database.read(
            partial(events.page, id=self.run.id, after=0, limit=100_000)
        )
        return [orjson.loads(row.data) for row in rows]

    async def row(self) -> tuple[int, int]:
        """`log_bytes` and `updated`, as the task's row has them."""
        query = f"SELECT log_bytes, updated FROM task WHERE id = {self.run.id}"
        return await self.writer.submit(lambda c: c.execute(query).fetchone())

    async def length(self) -> int:
        """How many bytes the log has."""
        rows = await self.database.read(partial(events.page, id=self.run.id, after=0))
        return events.length(rows)

    async def said(self, field: str) -> list[str]:
        return [event[field] for event in await self.log() if field in event]


@asynccontextmanager
async def bench(gate: Gate | None = None, **options: Any) -> AsyncIterator[Bench]:
    async with writing(at=gate or (lambda _: None)) as (database, writer, _):
        created = {"title": "t", "selectedAgents": ["a", "b"], "executionMode": "parallel",
                   "agents": []}  # fmt: skip
        asked = TaskRequest(title="t", description="d", selected_agents=["a", "b"])
        new = NewTask(
            task_id="t", owner="o", request=asked, text=asked.to_json(), agents="[]",
            idempotency_key=None, body_hash=None, quotas=Quotas(1), node="local",
            created=Draft("task_created", created, 0), starts=(), now=0,
        )  # fmt: skip
        stored = await writer.submit(partial(submissions.submit, new=new))
        assert isinstance(stored, Submitted)
        yield Bench(
            database, writer, RunKey(stored.id, "t", 1),
            **{"log_bytes": events.length(stored.events), **options},
        )  # fmt: skip


async def test_pieces_that_wait_together_become_one_event() -> None:
    async with bench() as b:
        await b.start()
        for piece in ("a", "b", "c"):
            await b.say(content=piece)
        await b.end()
        assert await b.said("content") == ["abc"]


async def test_the_row_of_a_task_follows_its_log_by_milestones_and_once_a_second() -> None:
    async with bench() as b:
        await b.start()
        started = await b.row()
        assert started == (await b.length(), b.clock.now_ms)
        b.clock.now_ms += 999
        await b.say(content="a")
        await b.recorder.flush()
        assert await b.row() == started
        b.clock.now_ms += 1
        await b.say(message="m")
        await b.recorder.flush()
        assert await b.row() == (await b.length(), b.clock.now_ms)
        b.clock.now_ms -= 5000  # the wall clock was set back
        await b.say(message="m")
        await b.recorder.flush()
        assert await b.row() == (await b.length(), b.clock.now_ms)
        await b.say(message="m")
        await b.recorder.flush()
        assert (await b.row())[0] < await b.length()
        await b.end()
        assert (await b.row())[0] == await b.length()
        await b.start(attempt=2)
        await b.say(attempt=2, message="m")
        await b.end(attempt=2, last=True)
        await b.finish()
        assert (await b.row())[0] == await b.length()


async def test_an_artifact_of_an_agent_that_was_stopped_counts_in_the_end() -> None:
    gate = ShowGate()
    async with bench(gate) as b:
        await b.start()
        gate.transactions_before = 3  # row, piece, show
        artifact = ArtifactInfo(name="f", media_type="text/plain", size=3)
        draft = Draft("agent_progress", {"agentRole": "a", "attempt": 1, "message": "f"}, 0)
        saving = asyncio.create_task(b.recorder.save_artifact("a", 1, artifact, b"abc", draft))
        await gate.reached()
        saving.cancel()
        await asyncio.wait([saving])
        await b.end(last=True)
        finishing = asyncio.create_task(b.finish())
        await asyncio.sleep(0)
        gate.open()
        await finishing
        assert saving.cancelled()
        assert await b.said("message") == ["f"]
        assert (await b.row())[0] == await b.length()


async def test_what_was_stored_has_left_room_for_as_many_bytes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "BUFFER_BYTES", 10)
    async with bench() as b:
        await b.start()
        fields = {"agentRole": "a", "attempt": 1, "content": "x" * 10}
        for _ in range(2):
            assert b.recorder.accept(Draft("agent_progress", {**fields}, 0))
            assert not b.recorder.accept(Draft("agent_progress", {**fields}, 0))
            await b.recorder.flush()


async def test_only_neighbours_of_one_kind_of_one_agent_merge() -> None:
    async with bench() as b:
        await b.start("a")
        await b.start("b")
        for role, field, text in [
            ("a", "content", "1"), ("b", "content", "x"), ("a", "content", "2"),
            ("a", "message", "m"), ("a", "message", "m"), ("a", "content", "3"),
            ("a", "reasoning", "r"), ("a", "reasoning", "s"), ("a", "content", "4"),
            ("b", "content", "y"), ("a", "progress", "0"), ("a", "content", "5"),
        ]:  # fmt: skip
            given: dict[str, Any] = {field: text}
            await b.say(role, **given)
        await b.recorder.flush()
        mine = [
            {k: v for k, v in e.items() if k in ("content", "message", "reasoning", "progress")}
            for e in await b.log()
            if e["type"] == "agent_progress" and e["agentRole"] == "a"
        ]
        assert mine == [
            {"content": "12"}, {"message": "m"}, {"message": "m"}, {"content": "3"},
            {"reasoning": "rs"}, {"content": "4"}, {"progress": "0"}, {"content": "5"},
        ]  # fmt: skip
        assert "".join(e["content"] for e in await b.log() if e.get("agentRole") == "b"
                       and "content" in e) == "xy"  # fmt: skip


async def test_pieces_of_two_attempts_never_merge() -> None:
    async with bench() as b:
        await b.start()
        await b.say(content="one")
        await b.end()
        await b.start(attempt=2)
        await b.say(attempt=2, content="two")
        await b.recorder.flush()
        assert await b.said("content") == ["one", "two"]


@pytest.mark.parametrize(("limit", "most"), [(10**9, MERGED_BYTES), (6000, 1000)])
async def test_merged_text_has_a_bound(limit: int, most: int) -> None:
    async with bench(max_event_bytes=limit) as b:
        await b.start()
        for _ in range(500):
            await b.say(content="x" * 500)
        await b.end()
        said = await b.said("content")
        assert "".join(said) == "x" * 250_000
        assert max(map(len, said)) == most - most % 500


async def test_what_is_published_is_what_is_stored_in_order() -> None:
    async with bench() as b:
        await b.start()
        for number in range(1000):
            await b.say(message=str(number))
        await b.end(last=True)
        await b.finish()
        log = await b.log()
        assert [orjson.loads(e.data) for e in b.published] == log[1:]
        assert [e["message"] for e in log if "message" in e] == [str(n) for n in range(1000)]
        check_log(log)


async def test_an_agent_waits_only_while_its_buffer_is_full() -> None:
    gate = Gate()
    async with bench(gate) as b:
        await b.start("a")
        await b.start("b")
        await gate.hold(b.writer)
        accepted = 0

        async def flood() -> None:
            nonlocal accepted
            while True:
                await b.say("a", message="m")
                accepted += 1

        flooding = asyncio.create_task(flood())
        for _ in range(50):
            await asyncio.sleep(0)
        assert accepted <= 2 * BUFFER_EVENTS  # one transaction under way, one buffer
        before = accepted
        await asyncio.wait_for(b.say("b", message="has room"), 5)
        for _ in range(50):
            await asyncio.sleep(0)
        assert accepted == before
        flooding.cancel()
        gate.open()


async def test_big_pieces_fill_the_buffer_too() -> None:
    gate = Gate()
    async with bench(gate) as b:
        await b.start()
        await gate.hold(b.writer)
        accepted = 0

        async def flood() -> None:
            nonlocal accepted
            while True:
                await b.say(message="m" * 100_000)
                accepted += 1

        flooding = asyncio.create_task(flood())
        for _ in range(50):
            await asyncio.sleep(0)
        assert accepted <= 24
        flooding.cancel()
        gate.open()


async def test_two_that_report_for_one_agent_both_get_through() -> None:
    async with bench() as b:
        await b.start()
        count = 0

        async def flood() -> None:
            nonlocal count
            while True:
                await b.say(message="m")
                count += 1

        flooding = asyncio.create_task(flood())
        for _ in range(5):
            await asyncio.wait_for(b.say(message="mine"), 10)
            await b.recorder.flush()
        flooding.cancel()
        assert (await b.said("message")).count("mine") == 5


async def test_cancelling_who_waits_for_a_structural_event_withdraws_nothing() -> None:
    gate = Gate()
    async with bench(gate) as b:
        await b.start()
        await gate.hold(b.writer)
        ending = asyncio.create_task(b.end())
        for _ in range(5):
            await asyncio.sleep(0)
        ending.cancel()
        gate.open()
        await b.recorder.flush()
        assert [e["type"] for e in await b.log()][-1] == "agent_complete"


async def test_a_second_end_of_an_attempt_is_refused_and_stores_nothing() -> None:
    async with bench() as b:
        await b.start()
        await b.end()
        with pytest.raises(Exception, match="has ended"):
            await b.end()
        assert [e["type"] for e in await b.log()].count("agent_complete") == 1


async def test_another_epoch_and_another_status_are_told_apart() -> None:
    for change, expected in (("epoch = 2", None), ("status = 'cancelled'", "cancelled")):
        async with bench() as b:
            await b.start()
            await b.writer.submit(sql(f"UPDATE task SET {change}"))
            await b.say(message="accepted, not stored")
            for call in (b.recorder.flush, b.end, b.finish, partial(b.say, message="later")):
                with pytest.raises(AppendRefused) as caught:
                    await call()
                assert caught.value.status == expected
            assert [e["type"] for e in await b.log()] == ["task_created", "agent_start"]


async def test_a_stale_run_stores_no_checkpoint_and_no_artifact() -> None:
    async with bench() as b:
        await b.start()
        await b.writer.submit(sql("UPDATE task SET epoch = 2"))
        with pytest.raises(AttemptClosed):
            await b.recorder.checkpoint("a", 1, "{}")
        with pytest.raises(AttemptClosed):
            await b.recorder.store_process_group("a", 1, 5, 5)
        artifact = ArtifactInfo(name="n", media_type="text/plain", size=1)
        draft = Draft("agent_progress", {"agentRole": "a", "attempt": 1}, 0)
        with pytest.raises((AttemptClosed, AppendRefused)):
            await b.recorder.save_artifact("a", 1, artifact, b"x", draft)
        assert [e["type"] for e in await b.log()] == ["task_created", "agent_start"]


async def test_what_waits_for_room_when_the_task_ends_is_told() -> None:
    gate = Gate()
    async with bench(gate) as b:
        await b.start()
        await gate.hold(b.writer)

        async def flood() -> None:
            while True:
                await b.say(message="m")

        flooding = asyncio.create_task(flood())
        for _ in range(20):
            await asyncio.sleep(0)
        ending = asyncio.create_task(_end_all(b))
        for _ in range(5):
            await asyncio.sleep(0)
        gate.open()
        await asyncio.wait_for(ending, 10)
        with pytest.raises((AttemptClosed, AppendRefused)):
            await asyncio.wait_for(flooding, 10)
        check_log(await b.log())


async def _end_all(b: Bench) -> None:
    await b.end(last=True)
    await b.finish()


async def test_what_showing_an_event_trips_over_does_not_hold_up_the_run() -> None:
    async with bench() as b:

        def trip(appended: Appended) -> None:
            raise RuntimeError("whoever looks on")

        b.recorder = LogRecorder(
            b.writer,
            b.run,
            trip,
            clock=Clock(),
            active_ms=0,
            log_bytes=0,
            last_seq=1,
            max_log_bytes=10**9,
        )
        async with asyncio.timeout(10):
            await b.start()
            await b.say(content="one")
            await b.end()
            await b.finish()
        log = await b.log()
        check_log(log)
        assert log[-1]["type"] == "task_complete"
