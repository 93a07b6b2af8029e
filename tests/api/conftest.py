"""One server process for all tests that only talk to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server import ServerProcess

AGENTS = """
[agents.writer]
kind = "command"
command = ["sh", "-c", "printf 'content of the report' > report.md; echo written"]
artifacts = ["report.md"]
"""


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server with the scripted agents and `writer`, which saves `report.md`.

    Tests use subjects or metadata of their own where other tests' tasks would be in their way.
    """
    folder = tmp_path_factory.mktemp("server")
    (folder / "agents.toml").write_text(AGENTS)
    with ServerProcess(folder) as process:
        process.start(agents_file="agents.toml", keepalive_seconds=0.2)
        yield process
