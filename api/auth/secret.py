"""The secret a development server makes for itself on its first start."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from api.auth.config import check_secret
from orchestrator.errors import SettingsError

FILE_NAME = "jwt_secret"
_SECRET_BYTES = 48


def load_or_create_secret(data_dir: Path) -> str:
    """The secret in the data folder; made when there is none. For development only.

    It appears under its name complete and readable by its owner alone, or not at all; of several
    processes that start at once, all get the same.

    Raises:
        SettingsError: The file is open to others, or does not hold a usable secret.
    """
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / FILE_NAME
    if not path.exists():
        _create(path)
    return _load(path)


def _create(path: Path) -> None:
    draft = path.with_name(f"{FILE_NAME}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):  # another process was faster; its secret counts
            os.link(draft, path)
    finally:
        draft.unlink()


def _load(path: Path) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.") from error
    with os.fdopen(descriptor, encoding="ascii", errors="replace") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if os.name == "posix" and mode & 0o077:
            raise SettingsError(
                f"{path} can be read by others (mode {mode:o}); delete it and a new one is made."
            )
        secret = file.read(4096).strip()
    try:
        check_secret(secret)
    except SettingsError as error:
        raise SettingsError(f"{path} holds no usable secret; delete it.") from error
    return secret
