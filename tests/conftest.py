"""What holds for every test: one event loop, and nothing of this machine's settings."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.settings_base import PREFIX, SettingsBase

if TYPE_CHECKING:
    from pathlib import Path

for _name in [name for name in os.environ if name.upper().startswith(PREFIX)]:
    del os.environ[_name]  # nor do the servers that tests start inherit any


@pytest.fixture(scope="session")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """The event loop everywhere: asyncio's own, the one every platform has."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture(scope="session", autouse=True)
def _no_settings_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Look for ``.env`` and ``poststream.toml`` where there are none."""
    SettingsBase.folder = tmp_path_factory.mktemp("no-settings")
    return SettingsBase.folder
