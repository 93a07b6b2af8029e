from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from api.auth import load_or_create_secret
from orchestrator.errors import SettingsError


@pytest.fixture(params=[0o022, 0o000, 0o077], ids=oct)
def _umask(request: pytest.FixtureRequest) -> Iterator[None]:
    old = os.umask(request.param)
    yield
    os.umask(old)


@pytest.mark.usefixtures("_umask")
def test_a_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "deeper"
    secret = load_or_create_secret(folder)
    assert len(secret) == 64
    assert load_or_create_secret(folder) == secret
    (file,) = folder.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_every_folder_gets_another_secret(tmp_path: Path) -> None:
    assert load_or_create_secret(tmp_path / "a") != load_or_create_secret(tmp_path / "b")


def test_processes_that_start_at_once_get_the_same_secret(tmp_path: Path) -> None:
    everybody = Barrier(8)

    def start(_: int) -> str:
        everybody.wait()
        return load_or_create_secret(tmp_path)

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(start, range(8)))) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_secret_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    load_or_create_secret(tmp_path)
    (file,) = tmp_path.iterdir()
    file.chmod(mode)
    with pytest.raises(SettingsError, match=r"can be read by others"):
        load_or_create_secret(tmp_path)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 10, b" " * 64])
def test_a_file_without_a_usable_secret_is_refused(tmp_path: Path, content: bytes) -> None:
    load_or_create_secret(tmp_path)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    with pytest.raises(SettingsError, match=r"no usable secret"):
        load_or_create_secret(tmp_path)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    load_or_create_secret(tmp_path / "other")
    (target,) = (tmp_path / "other").iterdir()
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / target.name).symlink_to(target)
    with pytest.raises(SettingsError, match=r"cannot be read"):
        load_or_create_secret(tmp_path / "data")


def test_a_link_that_leads_nowhere_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "jwt_secret").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SettingsError, match=r"cannot be read"):
        load_or_create_secret(tmp_path)
    assert not (tmp_path / "elsewhere").exists()
