"""Fixtures of the commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.cli.support import Here


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Here:
    """Runs commands in this process, in a folder of their own."""
    return Here(tmp_path, monkeypatch, capsys)
