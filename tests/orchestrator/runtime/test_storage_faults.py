"""A disk that is full or fails at every statement and every commit in turn.

The process lives on. What it said is stored is stored, what it could not store it did not say, and
when the fault is over everything goes on to the same end, without a restart.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import pytest

from orchestrator.errors import StorageError
from orchestrator.store.database import Connection
from tests.orchestrator.runtime.scenarios import SCENARIOS
from tests.orchestrator.runtime.worlds import World, finish, live
from tests.orchestrator.store.databases import Failing

FSYNC = sqlite3.SQLITE_IOERR | (4 << 8)
WRITES = ("INSERT", "UPDATE", "DELETE")


class Fault:
    """Fails one statement of a life.

    Args:
        kind: ``full``: there is no room for three seconds of commits from the n-th on. ``error``:
            the n-th COMMIT fails. ``unknown``: it fails, and was done all the same. ``write``: the
            n-th statement that writes fails.
        nth: Which.
    """

    def __init__(self, kind: str, nth: int) -> None:
        self._kind = kind
        self._left = nth
        self.struck = False

    def connect(self, real: Callable[[], Connection]) -> Callable[[], Connection]:
        """Wrap the writer's connections."""
        failing = Failing(real)
        failing.fail = self._before
        failing.after = self._after
        return failing.connect

    def _before(self, statement: str) -> int | None:
        if self._kind == "full":
            return sqlite3.SQLITE_FULL if self._strikes(statement == "COMMIT", times=3) else None
        if self._kind == "error":
            return FSYNC if self._strikes(statement == "COMMIT") else None
        if self._kind == "write":
            return FSYNC if self._strikes(statement.startswith(WRITES)) else None
        return None

    def _after(self, statement: str) -> int | None:
        if self._kind == "unknown" and self._strikes(statement == "COMMIT"):
            return FSYNC
        return None

    def _strikes(self, counts: bool, *, times: int = 1) -> bool:
        self._left -= counts
        strikes = counts and -times < self._left <= 0
        self.struck = self.struck or strikes
        return strikes


ALWAYS = ("artifacts_and_checkpoints", "cancels")


@pytest.mark.parametrize(
    "name",
    [n if n in ALWAYS else pytest.param(n, marks=pytest.mark.soak) for n in SCENARIOS],
)
@pytest.mark.parametrize(
    "kind", ["full", "error", "unknown", pytest.param("write", marks=pytest.mark.soak)]
)
def test_a_fault_at_any_commit_is_waited_out(
    name: str, kind: str, world: Callable[[int], World]
) -> None:
    play, ends = SCENARIOS[name]
    for nth in range(1, 1000):
        here, fault = world(nth), Fault(kind, nth)
        while True:
            drained = here.drained
            try:
                if not live(here, play, connect=fault.connect):
                    break
            except StorageError:
                continue  # it could not even begin: it said so, ended, and is started again
            assert here.drained > drained, "the process died of it"  # but by itself, once
        assert not here.life.fatal
        finish(here, ends)
        if not fault.struck:
            assert nth > 8, "the scenario has fewer commits than it should"
            return
    raise AssertionError("the scenario never came to its end")
