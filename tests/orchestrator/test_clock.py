"""The clock: ids, and whose time it measures."""

from __future__ import annotations

import asyncio
from uuid import RFC_4122, UUID

from orchestrator.clock import ALIKE, Clock


def test_task_ids_are_random_uuids() -> None:
    clock = Clock()
    ids = [clock.task_id() for _ in range(10 * ALIKE)]
    assert len(set(ids)) == len(ids)
    for id in ids:
        assert str(UUID(id)) == id
        assert UUID(id).version == 4
        assert UUID(id).variant == RFC_4122
    # Each bit but the six fixed ones is a one in some id and a zero in another.
    bits = [UUID(id).int for id in ids]
    ones, zeros = 0, 0
    for each in bits:
        ones |= each
        zeros |= ~each
    changing = ones & zeros & (2**96 - 1)
    assert changing.bit_count() == 90


def test_ids_in_a_row_begin_alike() -> None:
    clock = Clock()
    beginnings = [clock.task_id()[:8] for _ in range(10 * ALIKE)]
    assert len(set(beginnings)) == 10
    assert len(set(beginnings[:ALIKE])) == 1


def test_a_bound_clock_measures_with_its_loop_whichever_runs_later() -> None:
    class Later(asyncio.SelectorEventLoop):
        def time(self) -> float:
            return super().time() + 1e6

    async def bind() -> None:
        clock.bind()

    async def asked() -> float:
        return clock.monotonic() - asyncio.get_running_loop().time()

    clock = Clock()
    loop = Later()
    with asyncio.Runner() as runner:
        assert abs(runner.run(asked())) < 1
        loop.run_until_complete(bind())
        assert runner.run(asked()) > 1e5
    loop.close()
