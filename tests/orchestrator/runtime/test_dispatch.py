"""Dispatch: priority, then owners with fewer running tasks, then age."""

from __future__ import annotations

from orchestrator.runtime.dispatch import Delivery, InProcessDispatcher


def dispatch(
    dispatcher: InProcessDispatcher, waiting: list[tuple[str, int]], *, ends: bool = False
) -> str:
    """Offer tasks (owner, priority) and take them all; their names are their places."""
    for number, (owner, priority) in enumerate(waiting):
        dispatcher.offer(Delivery(number, f"task {number}", owner, priority, 1))
    order = ""
    while (delivery := dispatcher.next()) is not None:
        order += str(delivery.id)
        dispatcher.started(delivery.owner)
        if ends:
            dispatcher.ended(delivery.owner)
    return order


def test_higher_priority_comes_first() -> None:
    assert dispatch(InProcessDispatcher(), [("a", 0), ("a", 5), ("b", -1), ("b", 5)]) == "1302"


def test_owners_with_fewer_running_tasks_come_first_then_age() -> None:
    assert dispatch(InProcessDispatcher(), [("a", 0), ("a", 0), ("a", 0), ("b", 0), ("c", 0)]) == (
        "03412"
    )
    running = InProcessDispatcher()
    running.started("a")
    assert dispatch(running, [("a", 0), ("b", 0)]) == "10"


def test_age_decides_when_nobody_runs_anything() -> None:
    waiting = [("b", 0), ("a", 0), ("b", 0), ("a", 0)]
    assert dispatch(InProcessDispatcher(), waiting, ends=True) == "0123"


def test_an_owner_at_the_limit_waits_and_keeps_nobody_else_waiting() -> None:
    dispatcher = InProcessDispatcher(max_per_owner=1)
    assert dispatch(dispatcher, [("a", 9), ("a", 9), ("b", 0)]) == "02"
    assert len(dispatcher) == 1
    assert not dispatcher.may_start("a")
    dispatcher.ended("a")
    delivery = dispatcher.next()
    assert delivery is not None
    assert delivery.id == 1
    assert len(dispatcher) == 0


def test_nothing_waits_in_the_beginning() -> None:
    dispatcher = InProcessDispatcher()
    assert dispatcher.next() is None
    assert len(dispatcher) == 0


def test_a_task_that_is_discarded_waits_no_more() -> None:
    dispatcher = InProcessDispatcher()
    for number, owner in enumerate("aab"):
        dispatcher.offer(Delivery(number, str(number), owner, number % 2, 1))
    dispatcher.discard(7)
    assert len(dispatcher) == 3
    for number in (1, 0):
        dispatcher.discard(number)
    assert len(dispatcher) == 1
    assert [dispatcher.next(), dispatcher.next()] == [Delivery(2, "2", "b", 0, 1), None]
    assert len(dispatcher) == 0


def test_a_task_waits_once_however_often_it_is_offered() -> None:
    dispatcher = InProcessDispatcher()
    for number, round in [(0, 1), (1, 1), (0, 3), (0, 2)]:
        dispatcher.offer(Delivery(number, str(number), "a", 0, round))
    assert len(dispatcher) == 2
    found = [dispatcher.next(), dispatcher.next(), dispatcher.next()]
    assert found == [Delivery(1, "1", "a", 0, 1), Delivery(0, "0", "a", 0, 3), None]
