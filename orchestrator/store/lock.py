"""One process per SQLite file: a lock beside it that the operating system frees when we die."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path

from orchestrator.errors import StorageLocked


class FileLock:
    """Holds the lock of one database file.

    Args:
        path: The database; the lock is `<path>.lock`, whose content names the holder.

    Raises:
        StorageLocked: Another process holds it; the text names process and address.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.with_name(path.name + ".lock")
        # Not inherited by children (O_CLOEXEC is Python's default), so that a left-over command
        # agent does not keep the lock of a dead server.
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, address = self._holder()
            os.close(self._descriptor)
            holder = f"process {pid}" if pid else "another process"
            serves = f", which serves {address}" if address else ""
            raise StorageLocked(
                f"The database {path} is in use by {holder}{serves}. Stop that one, "
                "or choose another folder with POSTSTREAM_DATA_DIR.",
                address=address,
            ) from None
        self.announce("")

    def announce(self, address: str) -> None:
        """Write down who holds the lock.

        Args:
            address: Where the holder can be reached, e.g. ``http://127.0.0.1:8000``; may be empty.
        """
        text = json.dumps({"pid": os.getpid(), "address": address}).encode()
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, text, 0)

    def close(self) -> None:
        """Free the lock."""
        os.close(self._descriptor)

    def _holder(self) -> tuple[int, str]:
        """Process id (0 when unknown) and address of the holder."""
        with contextlib.suppress(OSError, ValueError):
            holder = json.loads(os.pread(self._descriptor, 1000, 0))
            return holder["pid"], holder["address"]
        return 0, ""
