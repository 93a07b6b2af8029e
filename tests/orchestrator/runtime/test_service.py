"""The service from the outside: submit, follow, repeat, cancel, delete, read."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentContext, AgentOptions, AgentResult
from orchestrator.errors import (
    AgentError,
    CursorBeyondEnd,
    Draining,
    IdempotencyMismatch,
    InvalidRequest,
    LimitExceeded,
    TaskConflict,
    TaskNotFound,
    UnknownIdempotencyKey,
)  # fmt: skip
from orchestrator.runtime.service import TaskService
from orchestrator.store.database import Database
from orchestrator.store.listing import TaskFilter
from tests.grammar import check_prefix, parse_frames
from tests.orchestrator.teams import (
    OWNER,
    at_file,
    eventually,
    fail,
    hang,
    log_of,
    read_to_end,
    request,
    run_task,
    service,
    settings,
    speak,
    status_of,
    submit,
    swallow,
    team,
    types,
)  # fmt: skip


async def idle(opened: TaskService) -> None:
    """Wait until the worker holds no slot."""
    await eventually(lambda: opened.worker.running == 0)


async def test_a_task_streams_from_its_first_event_to_its_end() -> None:
    async with service(team(a=speak, b=speak)) as opened:
        events = await run_task(opened, "a", "b")
        assert types(events) == [
            "task_created", "agent_start", "agent_progress", "agent_complete",
            "agent_start", "agent_progress", "agent_complete", "task_complete",
        ]  # fmt: skip
        assert await log_of(opened, events[0]["taskId"]) == events


async def test_every_reader_from_every_cursor_gets_the_same_bytes() -> None:
    async def work(context: AgentContext) -> None:
        for number in range(50):
            await context.progress(f"message {number}")
            await asyncio.sleep(0)

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        early = [await opened.attach(submission.task_id, owner=OWNER) for _ in range(3)]
        live = await read_to_end(submission.reader)
        for reader in early:
            assert await read_to_end(reader) == live
        for after in range(len(live)):
            reader = await opened.attach(submission.task_id, owner=OWNER, after=after)
            assert await read_to_end(reader) == live[after:]
        at_end = await opened.attach(submission.task_id, owner=OWNER, after=len(live))
        assert await at_end.next() is None
        assert at_end.ended
        at_end.close()
        with pytest.raises(CursorBeyondEnd):
            await opened.attach(submission.task_id, owner=OWNER, after=len(live) + 1)


async def test_sixteen_repeats_at_once_are_one_task_and_sixteen_equal_streams() -> None:
    starts = 0

    async def work(context: AgentContext) -> None:
        nonlocal starts
        starts += 1
        for _ in range(20):
            await context.write("x")
            await asyncio.sleep(0)

    async with service(team(a=work)) as opened:
        given = await asyncio.gather(*(submit(opened, "a", key="k") for _ in range(16)))
        streams = await asyncio.gather(*(read_to_end(each.reader) for each in given))
        assert len({each.task_id for each in given}) == 1
        assert sum(not each.replayed for each in given) == 1
        assert all(stream == streams[0] for stream in streams)
        assert starts == 1
        await idle(opened)
        assert opened.worker._taken == 0


async def test_a_repeat_is_a_read_answered_before_every_limit() -> None:
    registry = team(a=hang)
    async with service(registry, settings(max_tasks_per_owner=1)) as opened:
        first = await submit(opened, "a", key="k")
        assert first.reader is not None
        first.reader.close()
        with pytest.raises(LimitExceeded):
            await submit(opened, "a")
        opened._submitter.draining = True
        with pytest.raises(Draining):
            await submit(opened, "a")

        def refuse() -> None:
            raise AssertionError("nothing new is stored")

        again = await opened.submit(
            request("gone"), owner=OWNER, idempotency_key="k", body_hash="hash", admit=refuse
        )
        assert (again.task_id, again.replayed) == (first.task_id, True)
        opened._submitter.draining = False


async def test_a_key_belongs_to_its_owner_and_its_body() -> None:
    async with service(team(a=speak)) as opened:
        first = await opened.submit(request("a"), owner="x", idempotency_key="k", body_hash="1")
        with pytest.raises(IdempotencyMismatch):
            await opened.submit(request("a"), owner="x", idempotency_key="k", body_hash="2")
        other = await opened.submit(request("a"), owner="y", idempotency_key="k", body_hash="2")
        assert other.task_id != first.task_id


async def test_a_cursor_with_a_key_that_names_no_task_starts_nothing() -> None:
    async with service(team(a=speak)) as opened:
        with pytest.raises(UnknownIdempotencyKey):
            await opened.submit(
                request("a"), owner=OWNER, idempotency_key="k", body_hash="", after=3
            )
        assert await opened.counts() == {}


async def test_the_owner_of_a_task_is_the_only_one_who_finds_it() -> None:
    async with service(team(a=speak)) as opened:
        events = await run_task(opened, "a")
        id = events[0]["taskId"]
        for call in (
            opened.snapshot(id, owner="other"),
            opened.attach(id, owner="other"),
            opened.events(id, owner="other", after=0, limit=1),
            opened.artifacts(id, owner="other"),
            opened.cancel(id, owner="other", requested_by="other"),
            opened.delete(id, owner="other"),
            opened.snapshot("00000000-0000-4000-8000-000000000000", owner=OWNER),
        ):
            with pytest.raises(TaskNotFound):
                await call
        assert await status_of(opened, id) == "completed"


@pytest.mark.parametrize("attempt", range(20))
async def test_cancel_and_completion_race_to_exactly_one_end(attempt: int) -> None:
    async def work(context: AgentContext) -> None:
        for _ in range(attempt):
            await asyncio.sleep(0)

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")

        async def cancel() -> None:
            with contextlib.suppress(TaskConflict):
                await opened.cancel(submission.task_id, owner=OWNER, requested_by="me")

        _, frames = await asyncio.gather(cancel(), read_to_end(submission.reader))
        events = await log_of(opened, submission.task_id)
        assert parse_frames(frames) == events
        status = await status_of(opened, submission.task_id)
        assert status == events[-1].get("status", "completed")


async def test_cancel_tells_who_asked_and_who_did_not_stop() -> None:
    release = asyncio.Event()
    async with service(team(a=swallow(release), b=hang)) as opened:
        submission = await submit(opened, "a", "b", executionMode="parallel")
        reader = submission.reader
        assert reader is not None
        seen = b""
        while seen.count(b"agent_progress") < 4:  # in the name and in the data
            seen += await reader.next() or b""
        assert await opened.cancel(submission.task_id, owner=OWNER, requested_by="me") in (
            "cancelling",
        )
        again = await opened.cancel(submission.task_id, owner=OWNER, requested_by="you")
        assert again == "cancelling"
        await read_to_end(reader)
        events = await log_of(opened, submission.task_id)
        ends = {e["agentRole"]: e["code"] for e in events if e["type"] == "agent_error"}
        assert ends == {"a": "not_stopped", "b": "cancelled"}
        last = events[-1]
        assert (last["status"], last["code"]) == ("cancelled", "cancelled")
        assert (last["requestedBy"], last["notStopped"]) == ("me", ["a"])
        await idle(opened)
        assert len(opened.worker.stragglers) == 1
        release.set()
        await eventually(lambda: not opened.worker.stragglers)
        assert (
            await opened.cancel(submission.task_id, owner=OWNER, requested_by="me") == "cancelled"
        )


async def test_a_queued_task_is_cancelled_at_once_and_never_runs() -> None:
    ran: list[str] = []

    async def note(context: AgentContext) -> None:
        ran.append(context.task.task_id)

    async with service(team(a=hang, b=note), settings(max_concurrent_tasks=1)) as opened:
        first = await submit(opened, "a")
        second = await submit(opened, "b")
        third = await submit(opened, "b")
        assert second.status == "queued"
        cancelled = await opened.cancel(second.task_id, owner=OWNER, requested_by="me")
        assert cancelled == "cancelled"
        assert types(parse_frames(await read_to_end(second.reader))) == [
            "task_created", "task_error",
        ]  # fmt: skip
        await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        await read_to_end(first.reader)
        await read_to_end(third.reader)
        assert ran == [third.task_id]


async def test_a_cancel_in_the_batch_of_the_claim_finds_the_run() -> None:
    async with service(team(a=hang), settings(max_concurrent_tasks=1)) as opened:
        first = await submit(opened, "a")
        second = await submit(opened, "a")
        await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        while await status_of(opened, first.task_id) != "cancelled":
            # Hand a cancel over as often as possible: one of them meets the claim.
            await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        status = await opened.cancel(second.task_id, owner=OWNER, requested_by="me")
        assert status in ("cancelled", "cancelling")
        await read_to_end(first.reader)
        await read_to_end(second.reader)
        assert await status_of(opened, second.task_id) == "cancelled"


async def test_an_ended_task_is_not_cancelled() -> None:
    async with service(team(a=speak)) as opened:
        events = await run_task(opened, "a")
        with pytest.raises(TaskConflict, match="is completed"):
            await opened.cancel(events[0]["taskId"], owner=OWNER, requested_by="me")


async def test_a_timeout_ends_a_task_whose_agents_have_none_of_their_own() -> None:
    async with service(team(a=hang)) as opened:
        events = await run_task(opened, "a", timeoutSeconds=0.05)
        assert types(events)[-2:] == ["agent_error", "task_error"]
        assert events[-1]["status"] == "timed_out"


async def test_one_of_five_agents_fails_and_the_others_results_stay() -> None:
    async with service(team(a=speak, b=speak, c=fail, d=speak, e=speak)) as opened:
        events = await run_task(opened, *"abcde", executionMode="parallel")
        assert (events[-1]["outputs"], events[-1]["failedAgents"]) == (4, ["c"])
        shot = await opened.snapshot(events[0]["taskId"], owner=OWNER)
        assert {a["agentRole"]: (a["status"], a["content"]) for a in shot["agents"]} == {
            "a": ("completed", "a 1"), "b": ("completed", "b 1"), "c": ("error", ""),
            "d": ("completed", "d 1"), "e": ("completed", "e 1"),
        }  # fmt: skip


async def test_a_reader_that_leaves_cancels_nothing_and_leaves_nothing_behind() -> None:
    go = asyncio.Event()

    async def work(context: AgentContext) -> None:
        await go.wait()

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        reader = submission.reader
        assert reader is not None
        reading = asyncio.create_task(reader.next())
        await reading
        reading = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        reader.close()
        reader.close()
        assert opened._channels.readers == 0
        go.set()
        await eventually(lambda: opened.worker.running == 0)
        assert await status_of(opened, submission.task_id) == "completed"


async def test_a_caller_that_goes_while_its_task_is_stored_leaves_no_reader_and_no_slot() -> None:
    async with service(team(a=speak)) as opened:
        for turns in range(12):
            submitting = asyncio.create_task(submit(opened, "a"))
            for _ in range(turns):
                await asyncio.sleep(0)
            submitting.cancel()
            try:
                submission = await submitting
            except asyncio.CancelledError:
                continue
            assert submission.reader is not None
            submission.reader.close()
        await opened.counts()
        await eventually(lambda: opened.worker._taken == 0)
        assert opened._channels.readers == 0
        page, _ = await opened.list(TaskFilter(), before=None, limit=100)
        assert {task["status"] for task in page} <= {"completed"}


async def test_a_transaction_that_is_undone_lets_quotas_be_counted_anew() -> None:
    async with service(team(a=speak), settings()) as opened:
        await read_to_end((await submit(opened, "a")).reader)
        quotas = opened._submitter._quotas
        assert quotas._left
        with pytest.raises(ZeroDivisionError):
            await opened._writer.submit(lambda _: 1 // 0)
        assert not quotas._left


async def test_a_refused_submit_gives_its_slot_back() -> None:
    async with service(team(a=speak), settings(max_concurrent_tasks=1)) as opened:
        for _ in range(3):
            with pytest.raises(InvalidRequest):
                await submit(opened, "a", after=["00000000-0000-4000-8000-000000000000"])
        assert opened.worker._taken == 0
        await run_task(opened, "a")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [({"provider": "x"}, "/provider"), ({"after": ["nope"]}, "/after/0")],
)
async def test_a_request_that_names_what_is_not_there_is_refused(
    fields: dict[str, Any], pointer: str
) -> None:
    async with service(team(a=speak)) as opened:
        with pytest.raises(InvalidRequest) as caught:
            await submit(opened, "a", **fields)
        assert caught.value.errors[0].pointer == pointer
        assert await opened.counts() == {}


# -- after ------------------------------------------------------------------------------------


async def test_a_task_waits_for_those_before_it() -> None:
    go = asyncio.Event()
    order: list[str] = []

    async def work(context: AgentContext) -> None:
        await go.wait()
        order.append(context.task.title)

    async with service(team(a=work)) as opened:
        first = await submit(opened, "a", title="1")
        second = await submit(opened, "a", title="2", after=[first.task_id, first.task_id])
        third = await submit(opened, "a", title="3", after=[first.task_id, second.task_id])
        assert [second.status, third.status] == ["queued", "queued"]
        go.set()
        for each in (first, second, third):
            assert parse_frames(await read_to_end(each.reader))[-1]["type"] == "task_complete"
        assert order == ["1", "2", "3"]


async def test_every_task_of_a_broken_chain_ends_once_and_says_why() -> None:
    async with service(team(a=hang)) as opened:
        first = await submit(opened, "a")
        second = await submit(opened, "a", after=[first.task_id])
        # Reached twice: through the first and through the second.
        third = await submit(opened, "a", after=[first.task_id, second.task_id])
        fourth = await submit(opened, "a", after=[third.task_id])
        await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        for each in (second, third, fourth):
            events = parse_frames(await read_to_end(each.reader))
            assert await log_of(opened, each.task_id) == events
            assert (events[-1]["status"], events[-1]["code"]) == ("cancelled", "dependency_failed")
        late = await submit(opened, "a", after=[fourth.task_id])
        events = parse_frames(await read_to_end(late.reader))
        assert types(events) == ["task_created", "task_error"]
        assert late.status == "cancelled"
        await read_to_end(first.reader)
        await eventually(lambda: opened.worker._taken == 0)
        count = "SELECT count(*) FROM dependency"
        assert await opened._writer.submit(lambda c: c.execute(count).fetchone()[0]) == 0


async def test_a_chain_of_a_thousand_tasks_breaks_in_one_go() -> None:
    async with service(team(a=hang), settings(max_tasks_per_owner=2000)) as opened:
        first = await submit(opened, "a")
        last = first
        for _ in range(999):
            last = await opened.submit(request("a", after=[last.task_id]), owner=OWNER)
        await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        await read_to_end(first.reader)
        assert await status_of(opened, last.task_id) == "cancelled"
        assert await opened.counts() == {}


async def test_a_cancelled_task_leaves_no_dependency_behind() -> None:
    async with service(team(a=hang, b=speak)) as opened:
        first = await submit(opened, "a")
        second = await submit(opened, "b", after=[first.task_id])
        await opened.cancel(second.task_id, owner=OWNER, requested_by="me")
        await read_to_end(second.reader)
        await opened.delete(second.task_id, owner=OWNER)
        await opened.cancel(first.task_id, owner=OWNER, requested_by="me")
        await read_to_end(first.reader)
        with pytest.raises(TaskNotFound):
            await opened.find(second.task_id, owner=OWNER)


# -- deletion ---------------------------------------------------------------------------------


async def test_a_deleted_task_is_gone_for_everybody_at_once() -> None:
    async with service(team(a=speak)) as opened:
        submission = await submit(opened, "a", key="k")
        behind = await opened.attach(submission.task_id, owner=OWNER)
        await read_to_end(submission.reader)
        await opened.delete(submission.task_id, owner=OWNER)
        with pytest.raises(TaskNotFound):
            await behind.next()
        behind.close()
        for call in (
            opened.snapshot(submission.task_id, owner=OWNER),
            opened.attach(submission.task_id, owner=OWNER),
            opened.delete(submission.task_id, owner=OWNER),
        ):
            with pytest.raises(TaskNotFound):
                await call
        again = await submit(opened, "a", key="k")  # the key is free
        assert not again.replayed
        await read_to_end(again.reader)


async def test_a_running_task_is_not_deleted() -> None:
    async with service(team(a=hang)) as opened:
        submission = await submit(opened, "a")
        with pytest.raises(TaskConflict, match="cancel it first"):
            await opened.delete(submission.task_id, owner=OWNER)
        assert submission.reader is not None
        submission.reader.close()


async def test_delete_with_a_cursor_acts_only_on_what_the_caller_saw() -> None:
    async with service(team(a=speak)) as opened:
        events = await run_task(opened, "a")
        id = events[0]["taskId"]
        with pytest.raises(TaskConflict):
            await opened.delete(id, owner=OWNER, last_event_id=len(events) - 1)
        with pytest.raises(CursorBeyondEnd):
            await opened.delete(id, owner=OWNER, last_event_id=len(events) + 1)
        await opened.delete(id, owner=OWNER, last_event_id=len(events))


# -- what agents store ------------------------------------------------------------------------


async def test_artifacts_come_back_piece_by_piece_and_a_later_save_replaces() -> None:
    big = bytes(range(256)) * 5000  # more than four pieces

    async def work(context: AgentContext) -> None:
        await context.save_artifact("big.bin", b"old")
        await context.save_artifact("big.bin", big)
        await context.save_artifact("note.txt", "grüße", "text/plain")
        await context.save_artifact("empty", b"")

    async with service(team(a=work)) as opened:
        events = await run_task(opened, "a")
        id = events[0]["taskId"]
        listed = await opened.artifacts(id, owner=OWNER)
        assert [(a.name, a.size) for a in listed] == [
            ("big.bin", len(big)), ("note.txt", 7), ("empty", 0),
        ]  # fmt: skip
        artifact, pieces = await opened.artifact(id, "a", "big.bin", owner=OWNER)
        assert b"".join([piece async for piece in pieces]) == big
        assert artifact.media_type == "application/octet-stream"
        with pytest.raises(TaskNotFound):
            await opened.artifact(id, "a", "nothing", owner=OWNER)
        assert events[-2]["hasArtifacts"] is True
        assert len(events[-2]["artifacts"]) == 3


@pytest.mark.parametrize(
    ("limit", "work"),
    [
        ({"max_agent_output_bytes": 2000}, "text"),
        ({"max_artifact_bytes": 2000}, "artifact"),
        ({"max_agent_output_bytes": 2000}, "checkpoint"),
        ({"max_agent_output_bytes": 2000}, "output"),
        ({"max_task_log_bytes": 2000}, "text"),
        ({"max_task_log_bytes": 2000}, "messages"),
        ({"max_task_log_bytes": 2000}, "artifact"),
    ],
)
async def test_an_agent_that_writes_too_much_ends_with_output_limit(
    limit: dict[str, int], work: str
) -> None:
    async def flood(context: AgentContext) -> AgentResult | None:
        match work:
            case "text":
                for _ in range(100):
                    await context.write("x" * 100)
            case "messages":
                for _ in range(100):
                    await context.progress("x" * 100)
            case "artifact":
                await context.save_artifact("a", b"x" * 3000)
            case "checkpoint":
                await context.checkpoint("x" * 3000)
            case "output":
                return AgentResult(output="x" * 3000)
        return None

    async with service(team(a=flood), settings(**limit)) as opened:
        events = await run_task(opened, "a")
        assert [(e["type"], e.get("code")) for e in events[-2:]] == [
            ("agent_error", "output_limit"), ("task_error", "all_agents_failed"),
        ]  # fmt: skip


async def test_no_event_is_larger_than_the_settings_allow() -> None:
    async def work(context: AgentContext) -> None:
        for text in ("\x00" * 5000, "€" * 5000, "😀" * 5000, "x" * 5000):
            await context.write(text)
            await context.write(text)
        await context.progress("\x01" * 5000)

    async with service(team(a=work), settings(max_event_bytes=4096)) as opened:
        submission = await submit(opened, "a")
        frames = await read_to_end(submission.reader)
        assert max(map(len, frames)) < 4096 + 400
        shot = await opened.snapshot(submission.task_id, owner=OWNER)
        text = "".join(c * 10000 for c in "\x00€😀x")
        assert shot["agents"][0]["content"] == text
        assert shot["agents"][0]["message"].endswith("…")


async def test_numbers_of_every_size_leave_the_snapshot_readable() -> None:
    async def work(context: AgentContext) -> AgentResult:
        await context.progress(done=10**40, total=-5, failed=-1)
        await context.progress(progress=float("nan"), done=3)
        await context.progress(progress=7.0, eta_seconds=float("inf"))
        return AgentResult(output={"big": 10**40, "nan": float("nan"), "key": {1: "\ud800"}})

    async with service(team(a=work)) as opened:
        events = await run_task(opened, "a")
        shot = await opened.snapshot(events[0]["taskId"], owner=OWNER)
        agent = shot["agents"][0]
        assert agent["output"] == {"big": str(10**40), "nan": None, "key": {"1": "�"}}
        assert agent["progress"] == 1.0
        assert isinstance(shot["itemsDone"], int)


async def test_retried_agents_keep_one_attempt_open_and_their_checkpoint() -> None:
    async def work(context: AgentContext) -> None:
        if context.attempt == 1:
            await context.checkpoint({"at": 1})
            raise AgentError("again", retryable=True)
        assert context.restored == {"at": 1}
        await context.write("second")

    options = {"a": AgentOptions(max_attempts=2, retry_delay_seconds=0.001)}
    async with service(team(options, a=work)) as opened:
        events = await run_task(opened, "a")
        assert types(events) == [
            "task_created", "agent_start", "agent_error", "agent_start", "agent_progress",
            "agent_complete", "task_complete",
        ]  # fmt: skip


async def test_what_is_left_running_of_an_agent_writes_nothing_behind_its_end() -> None:
    left: list[asyncio.Task[None]] = []
    refused: list[BaseException] = []

    async def chatter(context: AgentContext) -> None:
        while True:
            await context.progress("still here")
            await context.write("and writing")

    async def saver(context: AgentContext) -> None:
        while True:
            await context.save_artifact("late.bin", b"x" * 600_000)

    async def saver_of_state(context: AgentContext) -> None:
        while True:
            await context.checkpoint({"late": True})

    async def work(context: AgentContext) -> None:
        for each in (chatter, saver, saver_of_state):
            left.append(asyncio.create_task(each(context)))
            left[-1].add_done_callback(lambda task: refused.append(task.exception() or Warning()))
        await asyncio.sleep(0)
        await context.write("done")

    async with service(team(a=work, b=speak)) as opened:
        await run_task(opened, "a", "b")
        await eventually(lambda: len(refused) == 3)
        assert {type(error).__name__ for error in refused} <= {"AttemptClosed", "AppendRefused"}


async def test_two_runs_on_one_loop_share_nothing(tmp_path: Path) -> None:
    async with (
        service(team(a=speak), at_file(tmp_path / "1.db")) as one,
        service(team(a=speak), at_file(tmp_path / "2.db")) as two,
    ):
        first, second = await asyncio.gather(run_task(one, "a"), run_task(two, "a"))
        with pytest.raises(TaskNotFound):
            await two.find(first[0]["taskId"], owner=None)
        assert len(first) == len(second)


async def test_a_hundred_tasks_of_twenty_owners_all_end_and_free_their_slots() -> None:
    async with service(team(a=speak, b=fail), settings(max_concurrent_tasks=3)) as opened:
        given = await asyncio.gather(
            *(submit(opened, "ab"[n % 2], owner=f"o{n % 20}") for n in range(100))
        )
        logs = await asyncio.gather(*(read_to_end(each.reader) for each in given))
        for submission, frames in zip(given, logs, strict=True):
            stored = await log_of(opened, submission.task_id)
            assert parse_frames(frames) == stored
            check_prefix(frames, frames)
        await eventually(lambda: opened.worker._taken == 0)
        assert await opened.counts() == {}


async def test_a_page_of_the_log_and_where_the_log_ends_are_read_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    go_on = asyncio.Event()

    async def work(context: AgentContext) -> None:
        await go_on.wait()
        await context.write("more")

    read = Database.read

    async def read_slowly(self: Database, function: Any) -> Any:
        answer = await read(self, function)
        go_on.set()  # the log grows behind each read
        await eventually(lambda: opened.worker.running == 0)
        return answer

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        monkeypatch.setattr(Database, "read", read_slowly)
        page, task = await opened.events(submission.task_id, owner=OWNER, after=0, limit=100)
        assert page[-1].seq == task.last_seq < 5
        monkeypatch.undo()
        page, task = await opened.events(submission.task_id, owner=OWNER, after=0, limit=100)
        assert page[-1].seq == task.last_seq == 5


async def test_a_request_that_cannot_be_stored_takes_no_slot() -> None:
    async with service(team(a=speak), settings(max_concurrent_tasks=1)) as opened:
        for _ in range(2):
            with pytest.raises(Exception, match="serialize"):
                await submit(opened, "a", inputs={"x": object()})
        assert types(await run_task(opened, "a"))[-1] == "task_complete"


async def test_an_artifact_whose_agent_is_stopped_meanwhile_leaves_nothing() -> None:
    async def work(context: AgentContext) -> None:
        await context.save_artifact("big", bytes(60_000_000))

    async with service(team(a=work)) as opened:
        with contextlib.closing(opened.database.connect()) as connection:

            def pieces() -> int:
                return int(connection.execute("SELECT count(*) FROM artifact_piece").fetchone()[0])

            submission = await submit(opened, "a")
            await eventually(lambda: pieces() > 0)
            await opened.cancel(submission.task_id, owner=OWNER, requested_by=OWNER)
            await read_to_end(submission.reader)
            assert await opened.artifacts(submission.task_id, owner=OWNER) == []
            await eventually(lambda: pieces() == 0)
