"""Databases and worlds for simulated lives."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.orchestrator.runtime.scenarios import agents
from tests.orchestrator.runtime.virtual import IN_MEMORY, copied, empty_database
from tests.orchestrator.runtime.worlds import World


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated database, to copy."""
    return empty_database(tmp_path_factory.mktemp("migrated"))


@pytest.fixture
def fresh(migrated: Path) -> Iterator[Callable[[], Path]]:
    """Makes databases that nobody has used, in memory where there is a way."""
    folders = []

    def make() -> Path:
        folders.append(TemporaryDirectory(prefix="poststream-tests-", dir=IN_MEMORY))
        return copied(migrated, Path(folders[-1].name))

    yield make
    for folder in folders:
        folder.cleanup()


@pytest.fixture
def world(fresh: Callable[[], Path]) -> Callable[[int], World]:
    """Makes worlds, each from one seed."""
    return lambda number: World(fresh(), agents(), random.Random(number))
