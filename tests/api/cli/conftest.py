"""Fixtures of the commands."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.activity import divert
from tests.api.cli.support import Here


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Here]:
    """Runs commands in this process, in a folder of their own."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield Here(tmp_path, monkeypatch, capsys)
    root.handlers[:] = handlers  # a command sends the log to a stderr that is closed by now
    root.setLevel(level)
    divert(None)
