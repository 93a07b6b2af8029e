"""A server as users run it: a process of its own, on a free port, with a data folder of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from api.auth import make_token

ROOT = Path(__file__).parents[1]
PREFIX = "POSTSTREAM_"
SCOPES = "tasks:read tasks:execute"
SECRET = "a secret of the tests, long enough for HS256"
DEADLINE_SECONDS = 30.0
_ADDRESS = re.compile(rb'https?://[^\s/"]+')


class ServerProcess:
    """`poststream serve`, started and stopped as often as a test likes on one data folder.

        with ServerProcess(tmp_path) as server:
            url = server.start(keepalive_seconds=1)
            headers = {"Authorization": f"Bearer {server.token('ann')}"}
            ...
            server.kill()
            server.restart()  # same folder, port and settings

    The scripted agents are there unless `scripted_agents=0` is given. Leaving the block kills it.

    Args:
        folder: Where its data folder `data` and its output (`stdout`, `stderr`) go; also its
            working folder, so that it finds no `.env` of this checkout.
        command: What is run instead of `python -m api.cli serve`.
    """

    def __init__(self, folder: Path, *, command: list[str] | None = None) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.url = ""
        """Its address without a slash at the end; the same after a restart."""
        self.process: subprocess.Popen[bytes] | None = None
        self._command = command or [sys.executable, "-m", "api.cli", "serve"]
        self._settings: dict[str, Any] = {"port": 0, "scripted_agents": 1, "jwt_secret": SECRET}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self.process is not None
        return self.process.pid

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.url.rpartition(":")[2])

    @property
    def stdout(self) -> str:
        """What the process that runs, or ran last, has printed."""
        return (self.folder / "stdout").read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """The log of the process that runs, or ran last."""
        return (self.folder / "stderr").read_text(errors="replace")

    def start(self, **settings: Any) -> str:
        """Start it and wait until it serves.

        Args:
            settings: As in `poststream settings`, in lower case and without prefix; None takes a
                default of this class or an earlier start away. They hold for later starts too.

        Returns:
            Its address.
        """
        self.spawn(**settings)
        end = time.monotonic() + DEADLINE_SECONDS
        while not self._serves():
            assert self.process is not None
            assert self.process.poll() is None, f"it ended\n{self.stdout}\n{self.stderr}"
            assert time.monotonic() < end, f"it does not serve\n{self.stdout}\n{self.stderr}"
            time.sleep(0.01)
        self._settings["port"] = self.port
        return self.url

    def spawn(self, **settings: Any) -> subprocess.Popen[bytes]:
        """Start it without waiting, e.g. because it will not come up."""
        assert self.process is None, "it runs already"
        self._settings.update(settings)
        values = {
            PREFIX + name.upper(): str(value)
            for name, value in {"data_dir": self.data_dir, **self._settings}.items()
            if value is not None
        }
        inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}
        self.process = self._popen({**inherited, "PYTHONPATH": str(ROOT), **values})
        return self.process

    def _popen(self, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with open(self.folder / "stdout", "wb") as out, open(self.folder / "stderr", "wb") as log:
            return subprocess.Popen(
                self._command,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=log,
            )

    def restart(self, **settings: Any) -> str:
        """Start it again after its end, at the same address and on the same data."""
        self.kill()
        return self.start(**settings)

    def kill(self) -> None:
        """End it as a crash does; harmless when it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop, wait for its end and return its exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit status."""
        assert self.process is not None
        status = self.process.wait(DEADLINE_SECONDS)
        self.process = None
        return status

    def token(self, sub: str = "ann", scope: str = SCOPES, *, ttl_seconds: int = 3600) -> str:
        """A token this server accepts."""
        return make_token(
            str(self._settings["jwt_secret"]), subject=sub, scopes=scope.split(),
            ttl_seconds=ttl_seconds, issuer="poststream", audience="poststream",
        )  # fmt: skip

    def headers(self, sub: str = "ann", scope: str = SCOPES) -> dict[str, str]:
        """The header fields of a request by somebody."""
        return {"Authorization": f"Bearer {self.token(sub, scope)}"}

    def _serves(self) -> bool:
        # The address is printed once it serves; with port 0 nobody knows it before.
        printed = _ADDRESS.search((self.folder / "stdout").read_bytes())
        if printed is None:
            return False
        self.url = printed[0].decode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        return False
