"""Whoever waits is cancelled at each of its awaits in turn, and nothing is lost, doubled or kept.

A call of a client may go at any moment, an agent may give up any call of its own and go on, and a
run may be ended from outside. What was handed to the writer stands all the same.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson
import pytest

from orchestrator.agents import AgentContext, AgentResult
from orchestrator.errors import TaskConflict, TaskNotFound
from orchestrator.runtime.recorder import BUFFER_EVENTS
from orchestrator.runtime.worker import Worker
from orchestrator.store.artifacts import PIECE_BYTES
from orchestrator.tasks import END_STATES
from tests.grammar import check_log, check_prefix, split_frames
from tests.orchestrator.runtime.virtual import Life, as_frames
from tests.orchestrator.teams import OWNER, Work, at_file, request, speak, team


class Cancelling:
    """Drives a coroutine and cancels its task when it waits for the n-th time.

    Args:
        coroutine: What is cancelled.
        nth: At which of its waits.
        late: Cancel when what it waits for is there, and before it could take it.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any], nth: int, *, late: bool) -> None:
        self._coroutine = coroutine
        self._left = nth
        self._late = late
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        task = asyncio.current_task()
        assert task is not None
        send: Callable[[], Any] = lambda: self._coroutine.send(None)  # noqa: E731
        while True:
            try:
                waited = send()
            except StopIteration as done:
                return done.value
            self._left -= 1
            if self._left == 0:
                self.reached = True
                if self._late and isinstance(waited, asyncio.Future):
                    waited.add_done_callback(lambda _: task.cancel())
                else:
                    asyncio.get_running_loop().call_soon(task.cancel)
            try:
                answer = yield waited
            except BaseException as error:
                send = lambda error=error: self._coroutine.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                send = lambda answer=answer: self._coroutine.send(answer)  # type: ignore[misc]  # noqa: E731


@pytest.fixture
def open_life(fresh: Callable[[], Path]) -> Iterator[Callable[..., Life]]:
    """Opens lives with a database of their own each, or with an earlier one's."""
    lives: list[Life] = []

    def make(*, path: Path | None = None, **works: Work) -> Life:
        path = path or fresh()
        given = at_file(path, max_concurrent_tasks=2, cancel_grace_seconds=1)
        life = Life(path, team(a=speak, **works), given, entropy=random.Random(len(lives)))
        lives.append(life)
        life.open()
        return life

    yield make
    for life in lives:
        life.bury()


async def slow(context: AgentContext) -> AgentResult:
    await context.write(secrets.token_hex(4))
    await asyncio.sleep(1)
    await context.write(secrets.token_hex(4))
    return AgentResult(output={"nonce": secrets.token_hex(4)})


async def cancelled_at(act: Coroutine[Any, Any, Any], nth: int, *, late: bool) -> bool:
    """Cancel a call at its n-th await; False when it has fewer."""
    cancelling = Cancelling(act, nth, late=late)

    async def whole() -> Any:
        return await cancelling

    task = asyncio.create_task(whole())
    await asyncio.wait([task])
    if not task.cancelled() and task.exception() is not None:
        assert isinstance(task.exception(), TaskConflict | TaskNotFound), task.exception()
    return cancelling.reached


def check_whole(life: Life, *, tasks: int) -> None:
    """All tasks have ended as they should, and nothing of the cancelled calls is left."""
    life.run(life.all_ended(every=1))
    rows = life.tasks()
    assert len(rows) == tasks
    for row in rows:
        check_log([orjson.loads(event.data) for event in life.log(row.task_id)])
        assert row.status in END_STATES
    life.pass_time(1)
    assert life.service._channels.readers == 0, "a reader was left"
    assert life.service._channels.bytes == 0, "frames were left"
    assert life.service.worker._taken == 0, "a slot was left"
    assert not life.fatal


Act = Callable[[Life, str], Coroutine[Any, Any, Any]]


async def submit(life: Life, _: str) -> None:
    submission = await life.service.submit(
        request("slow", title="new"), owner=OWNER, attach=True, idempotency_key="k", body_hash="k"
    )
    assert submission.reader is not None
    submission.reader.close()


async def repeat(life: Life, _: str) -> None:
    submission = await life.service.submit(
        request("slow"), owner=OWNER, attach=True, idempotency_key="old", body_hash="old"
    )
    assert submission.reader is not None
    submission.reader.close()


async def stream(life: Life, task_id: str) -> None:
    reader = await life.service.attach(task_id, owner=OWNER)
    try:
        while await reader.next() is not None:
            pass
    finally:
        reader.close()


async def cancel(life: Life, task_id: str) -> None:
    await life.service.cancel(task_id, owner=OWNER, requested_by="me")


async def delete(life: Life, task_id: str) -> None:
    await life.all_ended(every=1)
    await life.service.delete(task_id, owner=OWNER)


async def look(life: Life, task_id: str) -> None:
    await life.service.snapshot(task_id, owner=OWNER)
    await life.service.events(task_id, owner=OWNER, after=0, limit=10)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("act", [submit, repeat, stream, cancel, delete, look])
def test_a_caller_may_go_at_every_await(
    act: Act, late: bool, open_life: Callable[..., Life]
) -> None:
    for nth in range(1, 100):
        life = open_life(slow=slow)
        old = life.run(
            life.service.submit(
                request("slow"), owner=OWNER, idempotency_key="old", body_hash="old"
            )
        )
        reached = life.run(cancelled_at(act(life, old.task_id), nth, late=late))
        stored = {row.task_id for row in life.tasks()}
        if act is submit:  # who does not know whether it was stored, asks again
            life.run(submit(life, ""))
            assert {row.task_id for row in life.tasks()} >= stored
        life.pass_time(1)  # what was handed to the writer is not withdrawn
        gone = act is delete and not life.status(old.task_id)
        check_whole(life, tasks=2 if act is submit else 0 if gone else 1)
        life.close()
        if not reached:
            assert nth > 1
            return
    raise AssertionError("it never came to its end")


# -- an agent that gives up a call of its own ----------------------------------------------------


async def write(context: AgentContext) -> None:
    await context.write(secrets.token_hex(4))


async def flood(context: AgentContext) -> None:
    for _ in range(BUFFER_EVENTS + 5):
        await context.progress(secrets.token_hex(2))
        await context.write(secrets.token_hex(2))


async def save(context: AgentContext) -> None:
    await context.save_artifact("file.bin", secrets.token_bytes(2 * PIECE_BYTES))


async def remember(context: AgentContext) -> None:
    await context.checkpoint({"nonce": secrets.token_hex(4)})


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("call", [write, flood, save, remember])
def test_an_agent_may_give_up_any_call_and_go_on(
    call: Callable[[AgentContext], Awaitable[None]], late: bool, open_life: Callable[..., Life]
) -> None:
    for nth in range(1, 100):
        reached: list[bool] = []

        async def work(
            context: AgentContext, nth: int = nth, reached: list[bool] = reached
        ) -> AgentResult:
            reached.append(await cancelled_at(_awaited(call(context)), nth, late=late))
            await context.write("and on")
            with suppress(asyncio.TimeoutError):
                await context.save_artifact("file.bin", b"whole")
            return AgentResult(output={"text": "done"})

        life = open_life(work=work)
        submission = life.run(life.service.submit(request("work", "a"), owner=OWNER, attach=True))
        check = check_agent(life, submission.task_id)
        assert submission.reader is not None
        submission.reader.close()
        life.run(life.all_ended(every=1))
        life.run(check)
        check_whole(life, tasks=1)
        life.close()
        if not reached[0]:
            return
    raise AssertionError("it never came to its end")


async def _awaited(awaitable: Awaitable[Any]) -> None:
    await awaitable


async def check_agent(life: Life, task_id: str) -> None:
    log = [orjson.loads(event.data) for event in life.log(task_id)]
    shot = await life.service.snapshot(task_id, owner=OWNER)
    assert shot["status"] == "completed"
    agent = shot["agents"][0]
    said = "".join(e.get("content", "") for e in log if e.get("agentRole") == "work")
    assert agent["content"] == said
    assert said.endswith("and on")
    found, pieces = await life.service.artifact(task_id, "work", "file.bin", owner=OWNER)
    assert found.size == len(b"".join([piece async for piece in pieces])) == 5


# -- a run that is ended from outside ------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True])
def test_a_run_that_is_cancelled_at_any_await_goes_on_after_the_next_start(
    late: bool, open_life: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    drive = Worker._run
    for nth in range(1, 100):
        reached: list[Cancelling] = []

        async def _run(
            self: Worker, *args: Any, nth: int = nth, reached: list[Cancelling] = reached
        ) -> None:
            reached.append(Cancelling(drive(self, *args), nth, late=late))
            await reached[-1]

        monkeypatch.setattr(Worker, "_run", _run)
        life = open_life(slow=slow)
        submission = life.run(life.service.submit(request("a", "slow"), owner=OWNER, attach=True))
        seen: list[bytes] = []
        reading = life.loop.create_task(_follow(submission.reader, seen))
        life.pass_time(10)
        assert life.service.worker._taken == 0, "a slot was left"
        reading.cancel()
        life.pass_time(0)
        monkeypatch.setattr(Worker, "_run", drive)
        life.close()
        life = open_life(path=life.database.path, slow=slow)
        life.run(life.all_ended(every=1))
        assert life.status(submission.task_id) == "completed"
        check_prefix(seen, as_frames(life.log(submission.task_id)))
        check_whole(life, tasks=1)
        life.close()
        if not reached[0].reached:
            return
    raise AssertionError("it never came to its end")


async def _follow(reader: Any, seen: list[bytes]) -> None:
    try:
        while (piece := await reader.next()) is not None:
            seen += split_frames(piece)
    finally:
        reader.close()
