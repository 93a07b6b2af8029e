"""Channels and readers: memory first, the log behind it, no gap and no double between the two."""

from __future__ import annotations

import asyncio

import pytest

from orchestrator.errors import StorageError, TaskNotFound
from orchestrator.events import framed
from orchestrator.runtime.channels import MAX_BYTES, MAX_FRAMES, PIECE_BYTES, Channels, Reader
from orchestrator.store.events import Appended, FramePage, StoredEvent

TASK = 7


class Log:
    """The log of one task, and the channels in front of it."""

    def __init__(self, *, max_bytes: int = 1_000_000) -> None:
        self.events: list[StoredEvent] = []
        self.reads = 0
        self.channels = Channels(max_bytes=max_bytes, page=self._page)

    async def _page(self, id: int, after: int) -> FramePage | None:
        self.reads += 1
        await asyncio.sleep(0)
        events = [event for event in self.events if event.seq > after][:MAX_FRAMES]
        if not events:
            return None
        while len(events) > 1 and sum(len(event.data) + 100 for event in events) > MAX_BYTES:
            events.pop()
        return FramePage(framed(events), events[0].seq, events[-1].seq, len(events))

    def commit(self, count: int = 1, *, size: int = 10) -> list[StoredEvent]:
        """Store events that nobody was told of yet."""
        first = len(self.events) + 1
        new = [StoredEvent(seq, "t", "x" * size) for seq in range(first, first + count)]
        self.events += new
        return new

    def publish(self, events: list[StoredEvent], status: str = "running") -> None:
        self.channels.publish(Appended(TASK, events, status))

    def add(self, count: int = 1, *, size: int = 10, status: str = "running") -> None:
        self.publish(self.commit(count, size=size), status)

    def open(self, after: int = 0, *, ended: bool = False) -> Reader:
        """As `TaskService.attach` does: open, then tell what a read has shown."""
        reader = self.channels.open(TASK, after=after)
        reader.known(last_seq=len(self.events), ended=ended)
        return reader

    def frames(self, after: int = 0) -> bytes:
        return framed(self.events[after:])


async def soon(reader: Reader) -> bytes | None:
    return await asyncio.wait_for(reader.next(), 5)


async def drain(reader: Reader) -> bytes:
    data = b""
    while reader.ready:
        data += await soon(reader) or b""
    return data


async def test_new_frames_come_from_memory() -> None:
    log = Log()
    reader = log.open()
    for _ in range(5):
        log.add()
    assert await drain(reader) == log.frames()
    assert log.reads == 0


async def test_what_happened_before_comes_from_the_log() -> None:
    log = Log()
    log.add(2000)
    reader = log.open()
    log.add(3)
    assert await drain(reader) == log.frames()
    assert log.reads > 0


async def test_a_reader_is_woken_by_the_next_event() -> None:
    log = Log()
    reader = log.open()
    waiting = asyncio.create_task(soon(reader))
    await asyncio.sleep(0)
    assert not waiting.done()
    log.add()
    assert await waiting == log.frames()


async def test_the_end_is_known_when_everything_was_returned() -> None:
    log = Log()
    reader = log.open()
    log.add(2, status="completed")
    assert not reader.ended
    assert await soon(reader) == log.frames()
    assert reader.ended
    assert await soon(reader) is None


async def test_an_earlier_end_of_a_retried_task_does_not_end_the_stream() -> None:
    log = Log()
    log.add(3, status="failed")
    reader = log.open(ended=True)
    log.add(status="queued")
    assert await drain(reader) == log.frames()
    assert not reader.ended


async def test_a_task_that_ended_with_its_first_transaction_ends_its_stream() -> None:
    log = Log()
    events = log.commit(2)
    reader = log.channels.open(TASK, after=0, page=events)
    reader.known(last_seq=2, ended=True)
    assert await soon(reader) == log.frames()
    assert await soon(reader) is None


async def test_an_end_that_is_known_before_its_frames_are_there_is_read_from_the_log() -> None:
    log = Log()
    early = log.open()
    log.add(5)
    assert await drain(early) == log.frames()
    late = log.commit(2)  # committed, and about to be published
    reader = log.open(after=5)
    assert await soon(reader) == log.frames(5)
    assert await soon(early) == log.frames(5)
    log.publish(late)
    log.add()
    assert await soon(reader) == await soon(early) == log.frames(7)


@pytest.mark.parametrize("lag", [1, 2, 5])
async def test_publishing_late_neither_loses_nor_doubles(lag: int) -> None:
    log = Log()
    pending = [log.commit(3) for _ in range(lag)]
    reader = log.open(after=1)
    data = await soon(reader) or b""
    for events in pending:
        log.publish(events)
        data += await drain(reader)
    log.add(4, status="completed")
    data += await drain(reader)
    assert data == log.frames(1)
    assert await soon(reader) is None


async def test_one_write_is_bounded_in_frames_and_bytes() -> None:
    log = Log(max_bytes=100_000_000)
    reader = log.open()
    log.add(3 * MAX_FRAMES)
    log.add(20, size=MAX_BYTES // 3)
    log.add(1, size=3 * MAX_BYTES)
    pieces = []
    while reader.ready:
        pieces.append(await soon(reader) or b"")
    assert b"".join(pieces) == log.frames()
    assert log.reads == 0
    assert max(piece.count(b"id: ") for piece in pieces) == MAX_FRAMES
    assert all(len(piece) <= MAX_BYTES or piece.count(b"id: ") == 1 for piece in pieces)


@pytest.mark.parametrize("max_bytes", [0, 1, 1000, 100_000])
async def test_memory_keeps_its_bound_and_slow_readers_lose_nothing(max_bytes: int) -> None:
    log = Log(max_bytes=max_bytes)
    slow, fast = log.open(), log.open()
    seen = b""
    for number in range(200):
        log.add(number % 7 + 1, size=100)
        assert log.channels.bytes <= max_bytes
        seen += await drain(fast)
    assert seen == log.frames()
    assert await drain(slow) == log.frames()


async def test_the_oldest_frames_of_all_tasks_go_first() -> None:
    log = Log(max_bytes=2000)
    first, second = log.channels.open(1, after=0), log.channels.open(2, after=0)
    for seq in range(1, 100):
        for id in (1, 2):
            log.channels.publish(Appended(id, [StoredEvent(seq, "t", "x" * 80)], "running"))
    assert log.channels.bytes <= 2000
    assert abs(len(first._channel.pieces) - len(second._channel.pieces)) <= 1


async def test_a_thousand_readers_share_the_frames() -> None:
    log = Log()
    readers = [log.open() for _ in range(1000)]
    waiting = [asyncio.create_task(soon(reader)) for reader in readers]
    await asyncio.sleep(0)
    log.add()
    answers = await asyncio.gather(*waiting)
    assert all(answer is answers[0] for answer in answers)
    assert log.channels.bytes == len(answers[0] or b"") + PIECE_BYTES
    for reader in readers:
        reader.close()
    assert log.channels.readers == 0
    assert log.channels.bytes == 0


async def test_without_readers_nothing_is_kept() -> None:
    log = Log()
    log.add(100)
    reader = log.open(after=100)
    log.add(10)
    assert log.channels.bytes > 0
    reader.close()
    log.add(10)
    assert log.channels.bytes == 0
    again = log.open()
    assert await drain(again) == log.frames()


async def test_what_is_kept_costs_nothing_when_other_readers_go() -> None:
    log = Log()
    kept = log.open()
    for _ in range(4000):
        log.add()
    walks = 0
    forget = log.channels._forget_dropped

    def counted() -> None:
        nonlocal walks
        walks += 1
        forget()

    log.channels._forget_dropped = counted  # type: ignore[method-assign]
    for number in range(100):  # 5,000 pieces that come and go
        other = log.channels.open(100 + number, after=0)
        for seq in range(1, 51):
            log.channels.publish(Appended(100 + number, [StoredEvent(seq, "t", "{}")], "running"))
        other.close()
    assert 0 < walks < 4
    assert len(log.channels._ages) <= 2 * 4000 + MAX_FRAMES + 50
    assert await drain(kept) == log.frames()


async def test_a_nudge_ends_the_wait_without_an_event() -> None:
    log = Log()
    reader = log.open()
    waiting = asyncio.create_task(soon(reader))
    await asyncio.sleep(0)
    reader.nudge()
    assert await waiting == b""
    reader.nudge()  # before the wait
    assert await soon(reader) == b""
    reader.nudge()
    log.add()
    assert await soon(reader) == log.frames()


async def test_waiting_again_and_again_keeps_nothing() -> None:
    log = Log()
    reader = log.open()
    for number in range(50):
        waiting = asyncio.create_task(reader.next())
        await asyncio.sleep(0)
        if number % 2:
            waiting.cancel()
        else:
            reader.nudge()
        await asyncio.wait([waiting])
    assert len(reader._channel.waiting) == 0


async def test_a_removed_task_ends_its_readers() -> None:
    log = Log()
    log.add(3, status="completed")
    reader, behind = log.open(after=3), log.open()
    waiting = asyncio.create_task(soon(reader))
    await asyncio.sleep(0)
    log.channels.remove(TASK)
    with pytest.raises(TaskNotFound):
        await waiting
    with pytest.raises(TaskNotFound):
        await soon(behind)
    log.channels.remove(99)  # nobody reads it


async def test_a_log_whose_rows_are_being_removed_is_a_task_that_is_gone() -> None:
    log = Log()
    log.add(3, status="completed")
    reader = log.open(ended=True)
    log.events.clear()
    with pytest.raises(TaskNotFound):
        await soon(reader)


async def test_a_gap_in_the_log_is_never_passed_over() -> None:
    log = Log()
    log.add(5)
    reader = log.open()
    del log.events[2]
    with pytest.raises(StorageError, match="a gap behind event 0"):
        await drain(reader)


async def test_a_gap_between_memory_and_what_comes_is_filled_from_the_log() -> None:
    log = Log()
    reader = log.open()
    log.add(3)
    log.commit(4)  # never published
    log.add(2)
    assert await drain(reader) == log.frames()


class Pushed:
    """Who follows a reader: takes frames while it may."""

    def __init__(self, reader: Reader) -> None:
        self.frames: list[bytes] = []
        self.takes = True
        reader.follow(self.take)

    def take(self, frames: bytes) -> bool:
        if self.takes:
            self.frames.append(frames)
        return self.takes


async def waits(reader: Reader) -> asyncio.Task[bytes | None]:
    waiting = asyncio.create_task(reader.next())
    await asyncio.sleep(0)
    return waiting


async def test_new_frames_are_pushed_past_a_reader_that_waits() -> None:
    log = Log()
    log.add(1)
    reader = log.open(after=1)
    pushed = Pushed(reader)
    waiting = await waits(reader)
    log.add(1)
    log.add(3)
    assert b"".join(pushed.frames) == log.frames(after=1)
    assert reader.cursor == 5
    assert not waiting.done()
    log.add(1, status="completed")  # the end is for who waits
    assert await waiting == log.frames(after=5)
    assert reader.ended


async def test_a_push_that_is_not_taken_wakes_the_reader_and_nothing_is_lost_or_doubled() -> None:
    log = Log()
    reader = log.open()
    pushed = Pushed(reader)
    waiting = await waits(reader)
    log.add(1)
    pushed.takes = False
    log.add(1)
    pushed.takes = True
    log.add(1)  # not pushed: what came before it is not sent yet
    assert await waiting == log.frames(after=1)
    assert pushed.frames == [log.frames()[: len(pushed.frames[0])]]
    waiting = await waits(reader)
    log.add(1)
    assert pushed.frames[1:] == [log.frames(after=3)]
    waiting.cancel()


async def test_a_reader_that_is_not_up_to_date_is_pushed_nothing() -> None:
    log = Log()
    log.add(2)
    reader = log.open()
    pushed = Pushed(reader)
    log.add(1)  # it does not wait yet
    assert pushed.frames == []
    assert await soon(reader) == log.frames()


@pytest.mark.parametrize(("count", "size"), [(MAX_FRAMES + 1, 10), (2, MAX_BYTES // 2)])
async def test_more_than_one_write_is_not_pushed(count: int, size: int) -> None:
    log = Log(max_bytes=10 * MAX_BYTES)
    reader = log.open()
    pushed = Pushed(reader)
    waiting = await waits(reader)
    log.add(count, size=size)
    first = await waiting
    assert pushed.frames == []
    assert first is not None
    assert log.frames().startswith(first)


async def test_all_who_follow_are_given_the_same_object() -> None:
    log = Log()
    readers = [log.open() for _ in range(3)]
    followers = [Pushed(reader) for reader in readers]
    waiting = [await waits(reader) for reader in readers]
    log.add(2)
    assert len({id(follower.frames[0]) for follower in followers}) == 1
    for task in waiting:
        task.cancel()


async def test_a_closed_reader_lets_go_of_who_followed_it() -> None:
    log = Log()
    reader = log.open()
    pushed = Pushed(reader)
    reader.close()
    assert not reader.push(b"late", 1)
    assert pushed.frames == []


async def test_a_push_that_raises_keeps_no_other_reader_from_the_event() -> None:
    log = Log()
    broken, other = log.open(), log.open()

    def raises(frames: bytes) -> bool:
        raise OSError("the connection is gone")

    broken.follow(raises)
    pushed = Pushed(other)
    waiting = await waits(broken), await waits(other)
    log.add(2)
    assert pushed.frames == [log.frames()]
    assert await waiting[0] == log.frames()
    waiting[1].cancel()


async def test_what_every_reader_was_given_is_not_kept() -> None:
    log = Log()
    readers = [log.open() for _ in range(3)]
    pushed = [Pushed(reader) for reader in readers]
    waiting = [await waits(reader) for reader in readers]
    log.add()
    assert log.channels.bytes == 0
    pushed[1].takes = False
    log.add()
    assert log.channels.bytes > 0
    assert await waiting[1] == log.frames(1)
    log.add()  # one does not wait now
    assert await drain(readers[1]) == log.frames(2)
    for each in (pushed[0], pushed[2]):
        assert b"".join(each.frames) == log.frames()
    assert log.reads == 0
    late = log.open()
    assert await drain(late) == log.frames()
    for task in (waiting[0], waiting[2]):
        task.cancel()
