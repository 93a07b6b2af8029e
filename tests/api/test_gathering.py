"""Gathering: what is sent at once, what at the end of the turn, and that its order stays."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

from api.gathering import GATHERED_BYTES, GatheringTransport


class Sent(asyncio.Transport):
    """A connection that notes in one list for all what is sent."""

    def __init__(self, log: list[Any]) -> None:
        super().__init__()
        self._log = log
        self._closing = False

    def write(self, data: Any) -> None:
        self._log.append(data)

    def write_eof(self) -> None:
        self._log.append("eof")

    def close(self) -> None:
        self._log.append("closed")
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def get_write_buffer_size(self) -> int:
        return 7


def connections(log: list[Any], count: int) -> list[GatheringTransport]:
    loop = asyncio.get_running_loop()
    return [GatheringTransport(Sent(log), loop) for _ in range(count)]


async def turn() -> None:
    """Let the loop turn once."""
    await asyncio.sleep(0)


async def test_the_first_goes_out_at_once_and_the_others_at_the_end_of_the_turn() -> None:
    log: list[Any] = []
    a, b, c = connections(log, 3)
    for _ in range(2):
        a.write(b"a")
        b.write(b"b")
        c.write(b"c")
        assert log == [b"a"]
        await turn()
        assert log == [b"a", b"b", b"c"]
        log.clear()


async def test_pieces_of_one_connection_keep_their_order() -> None:
    log: list[Any] = []
    first, connection = connections(log, 2)
    first.write(b"first")
    long = bytes(GATHERED_BYTES + 1)
    for data in (b"1", b"2", b"3", long, b"4"):
        connection.write(data)
    connection.write_now(b"5")
    connection.write(b"6")
    assert log == [b"first", b"1", b"2", b"3", long, b"4", b"5"]
    await turn()
    assert log[-1] == b"6"


async def test_the_end_of_a_connection_comes_after_what_is_kept() -> None:
    log: list[Any] = []
    first, half, whole, broken = connections(log, 4)
    first.write(b"first")
    half.write(b"half")
    half.write_eof()
    whole.write(b"whole")
    whole.close()
    broken.write(b"broken")
    broken.abort()
    await turn()
    assert log == [b"first", b"half", "eof", b"whole", "closed", "closed"]


class Broken(Sent):
    def write(self, data: Any) -> None:
        raise RuntimeError("no more can be written")


async def test_a_connection_that_fails_takes_nothing_from_the_others() -> None:
    log: list[Any] = []
    first, before, after = connections(log, 3)
    broken = GatheringTransport(Broken(log), asyncio.get_running_loop())
    first.write(b"first")
    for connection in (before, broken, after):
        connection.write(b"kept")
    await turn()
    assert log == [b"first", b"kept", b"kept"]


async def test_the_rest_is_as_below() -> None:
    (connection,) = connections([], 1)
    assert connection.get_write_buffer_size() == 7
    assert not connection.is_closing()


async def test_what_happens_at_the_end_of_a_turn_is_not_blamed_on_who_was_first() -> None:
    request: ContextVar[str] = ContextVar("request")
    seen: list[str] = []

    class Seeing(Sent):
        def write(self, data: Any) -> None:
            seen.append(request.get("nobody"))

    loop = asyncio.get_running_loop()
    first, second = (GatheringTransport(Seeing([]), loop) for _ in range(2))
    request.set("first")
    first.write(b"1")
    second.write(b"2")
    await turn()
    assert seen == ["first", "nobody"]


def test_each_loop_has_turns_of_its_own() -> None:
    async def write(log: list[Any]) -> None:
        (connection,) = connections(log, 1)
        connection.write(b"x")

    for _ in range(2):  # nothing of the first loop's last turn is left for the second
        log: list[Any] = []
        with asyncio.Runner() as runner:
            runner.run(write(log))
        assert log == [b"x"]
