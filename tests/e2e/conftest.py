"""One server for all tests that leave it as it was; each test is somebody of its own there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.client import Client
from tests.e2e.serving import caller, process
from tests.server import ServerProcess


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that runs from the first test that wants one to the last."""
    with process(tmp_path_factory.mktemp("server")) as running:
        running.start(cancel_grace_seconds=0.5)
        yield running


@pytest.fixture
def alice(server: ServerProcess, request: pytest.FixtureRequest) -> Client:
    """Somebody nobody else is."""
    return caller(server, f"alice of {request.node.name}"[:200])
