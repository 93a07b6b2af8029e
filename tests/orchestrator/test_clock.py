"""The clock: ids."""

from __future__ import annotations

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
