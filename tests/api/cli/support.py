"""Runs the command as people do: a process of its own, away from the checkout."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, Self

import orjson
import pytest

from api.cli import main
from orchestrator.settings_base import SettingsBase
from tests.server import DEADLINE_SECONDS, PREFIX, ROOT

COMMAND = [sys.executable, "-m", "api.cli"]


class Finished(NamedTuple):
    """A command that has ended."""

    status: int
    out: str
    err: str

    def json(self) -> Any:
        """The one line of JSON it printed."""
        return orjson.loads(self.out)

    def lines(self) -> list[Any]:
        """The lines of JSON it printed."""
        return [orjson.loads(line) for line in self.out.splitlines()]


class Command:
    """`poststream` with arguments, as a process.

    Args:
        folder: Its working folder; its output goes to files there.
        arguments: What follows `poststream`.
        settings: As in `poststream settings`, in lower case and without prefix.
    """

    def __init__(self, folder: Path, *arguments: str, **settings: Any) -> None:
        self._out, self._err = folder / "command.out", folder / "command.err"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=folder,
                env=environment(**settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()

    @property
    def out(self) -> str:
        """What it has printed."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it has said."""
        return self._err.read_text()

    def wait_for(self, text: str) -> None:
        """Wait until it has printed or said something."""
        end = time.monotonic() + DEADLINE_SECONDS
        while text not in self.out + self.err:
            assert self.process.poll() is None, f"it ended\n{self.out}\n{self.err}"
            assert time.monotonic() < end, f"{text!r} did not come\n{self.out}\n{self.err}"
            time.sleep(0.01)

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(number)

    def finish(self) -> Finished:
        """Wait for its end."""
        status = self.process.wait(DEADLINE_SECONDS)
        return Finished(status, self.out, self.err)


def poststream(folder: Path, *arguments: str, **settings: Any) -> Finished:
    """Run a command to its end."""
    with Command(folder, *arguments, **settings) as command:
        return command.finish()


class Here:
    """Runs commands in this process, which takes a tenth of the time.

    Args:
        folder: The working folder.
        monkeypatch: Undoes what the settings need.
        captured: What is printed.
    """

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, captured: pytest.CaptureFixture[str]
    ) -> None:
        self.settings: dict[str, Any] = {}
        """For all commands, as in `poststream settings`, in lower case and without prefix."""
        self._folder, self._monkeypatch, self._captured = folder, monkeypatch, captured

    def __call__(self, *arguments: str, **settings: Any) -> Finished:
        """Run a command to its end."""
        with self._monkeypatch.context() as patch, without_log_handlers():
            patch.chdir(self._folder)
            patch.setattr(SettingsBase, "folder", Path())
            patch.setattr(sys, "argv", ["poststream", *arguments])
            for name, value in {**self.settings, **settings}.items():
                patch.setenv(PREFIX + name.upper(), str(value))
            with pytest.raises(SystemExit) as leaving:
                main()
        out, err = self._captured.readouterr()
        assert isinstance(leaving.value.code, int)
        return Finished(int(leaving.value.code), out, err)


@contextlib.contextmanager
def without_log_handlers() -> Iterator[None]:
    """Take away the handlers that a command adds to the log of its process."""
    root = logging.getLogger()
    level, before = root.level, list(root.handlers)
    try:
        yield
    finally:
        root.setLevel(level)
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)


def environment(**settings: Any) -> dict[str, str]:
    """The environment of a command: this one without settings, and the given ones."""
    inherited = {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}
    given = {PREFIX + name.upper(): str(value) for name, value in settings.items()}
    return {**inherited, "PYTHONPATH": str(ROOT), "COLUMNS": "100", **given}


def script(*parts: dict[str, Any]) -> str:
    """`--input-json` for scripted agents."""
    return orjson.dumps({"script": list(parts)}).decode()
