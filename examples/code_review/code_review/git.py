"""A git repository that may belong to anybody: read, never executed.

A repository can name programs in its own configuration that git would start: a file system
monitor, hooks, external diffs, text converters, a signature checker, the transport of a partial
clone. Each is switched off here, by arguments and environment that beat that configuration.
"""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import IO, NamedTuple

MAX_FILE_BYTES = 1024 * 1024
"""Larger files are data or generated; reading them would say nothing about the code."""


class RepositoryError(Exception):
    """Raised when a repository cannot be read, in words for the person who asked for it.

    Args:
        message: What is wrong.
        code: `not_a_repository` or `unreadable_repository`.
    """

    def __init__(self, message: str, *, code: str = "unreadable_repository") -> None:
        super().__init__(message)
        self.code = code


class Content(NamedTuple):
    """A tracked file as it lies in the work tree."""

    size: int
    """Bytes; 0 when there is no such file."""
    data: bytes | None
    """What it holds, None when it was skipped."""
    skipped: str = ""
    """Why, in words that fit behind "2 files:"."""


class Repository:
    """A folder within a git checkout.

    Args:
        path: The folder, with all links followed.

    Raises:
        RepositoryError: It lies in no git checkout, or git is not installed (`not_a_repository`).
    """

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        folders = [self.path, *self.path.parents]
        self.top = next((folder for folder in folders if (folder / ".git").exists()), self.path)
        if not self.path.is_dir() or not (self.top / ".git").exists():
            raise RepositoryError(
                f"{self.path.name} is no git repository: there is no checkout in this folder.",
                code="not_a_repository",
            )
        self.commit = self._line("rev-parse", "--verify", "--quiet", "HEAD", may_fail=True)
        """Id of the current commit, empty when there is none yet."""

    @property
    def is_shallow(self) -> bool:
        """Whether older commits were left out when it was cloned."""
        return self._line("rev-parse", "--is-shallow-repository") == "true"

    @property
    def _within(self) -> list[str]:
        """Arguments that limit a command to the folder, when it is not the whole checkout."""
        return [] if self.path == self.top else ["--", "."]

    def commit_count(self) -> int:
        """Commits that `git log` would list."""
        if not self.commit:
            return 0
        return int(self._line("rev-list", "--count", "HEAD", *self._within))

    def files(self) -> dict[str, str]:
        """Tracked files: name → mode, e.g. ``100644``; in the order of the index."""
        listed = subprocess.run(
            self._command("ls-files", "-z", "--stage"),
            env=_environment(), stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        if listed.returncode != 0:
            raise _failure(listed.stderr)
        entries = (entry.partition(b"\t") for entry in listed.stdout.split(b"\0") if entry)
        return {os.fsdecode(name): about[:6].decode() for about, _, name in entries}

    def python_files(self) -> list[str]:
        """Full paths of tracked Python files that `read` would read."""
        return [
            str(self.path / name)
            for name, mode in self.files().items()
            if name.endswith((".py", ".pyi")) and self._is_readable(name, mode)
        ]

    def read(self, name: str, mode: str) -> Content:
        """Read a tracked file, unless it is none, lies elsewhere, or is no text.

        Raises:
            OSError: It is there and cannot be read.
        """
        if mode == "160000":
            return Content(0, None, "submodules")
        if mode == "120000":
            return Content(0, None, "symbolic links")
        path = self.path / name
        if not path.parent.resolve().is_relative_to(self.path):
            return Content(0, None, "behind a symbolic link")
        try:
            # Not through a link, and without waiting for the other end of a pipe.
            number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return Content(0, None, "not in the work tree")
        except OSError as error:
            if error.errno == errno.ELOOP:
                return Content(0, None, "symbolic links")
            raise
        try:
            status = os.fstat(number)
            if not stat.S_ISREG(status.st_mode):
                return Content(0, None, "no regular files")
            if status.st_size > MAX_FILE_BYTES:
                return Content(status.st_size, None, "larger than 1 MiB")
            data = os.read(number, MAX_FILE_BYTES)
        finally:
            os.close(number)
        return (
            Content(status.st_size, None, "binary")
            if b"\0" in data[:8000]
            else Content(status.st_size, data)
        )

    def _is_readable(self, name: str, mode: str) -> bool:
        try:
            return self.read(name, mode).data is not None
        except OSError:
            return False

    def log(self, *arguments: str) -> Generator[bytes]:
        """Output of `git log`, cut at NUL bytes; names are relative to the folder.

        Git ends when the iterator is closed.
        """
        command = self._command(
            "log", "--no-show-signature", "--no-ext-diff", "--no-textconv", "--no-color",
            "--relative", *arguments, "-z", "HEAD", *self._within,
        )  # fmt: skip
        with (
            tempfile.TemporaryFile() as errors,
            subprocess.Popen(
                command, env=_environment(), stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=errors,
            ) as process,
        ):  # fmt: skip
            assert process.stdout is not None
            try:
                yield from _pieces(process.stdout)
            except GeneratorExit:
                process.kill()
                raise
            if process.wait() != 0:
                errors.seek(0)
                raise _failure(errors.read())

    def _line(self, *arguments: str, may_fail: bool = False) -> str:
        try:
            answer = subprocess.run(
                self._command(*arguments), env=_environment(),
                stdin=subprocess.DEVNULL, capture_output=True, check=False,
            )  # fmt: skip
        except FileNotFoundError:
            raise RepositoryError("git is not installed here.", code="not_a_repository") from None
        if answer.returncode != 0 and not (may_fail and answer.returncode == 1):
            raise _failure(answer.stderr)
        return os.fsdecode(answer.stdout).strip()

    def _command(self, *arguments: str) -> list[str]:
        return [
            "git", "-C", str(self.path), "--no-pager",
            "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null",
            "-c", f"safe.directory={self.top}",
            *arguments,
        ]  # fmt: skip


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(65536):
        *pieces, rest = (rest + chunk).split(b"\0")
        yield from pieces
    if rest:
        yield rest


def _environment() -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ALLOW_PROTOCOL": "none",  # a partial clone would fetch what it lacks
        "GIT_NO_LAZY_FETCH": "1",
    }


def _failure(stderr: bytes) -> RepositoryError:
    lines = stderr.decode("utf-8", "replace").strip().splitlines()
    return RepositoryError(
        f"git cannot read this repository: {lines[-1] if lines else 'no reason given'}",
        code="unreadable_repository",
    )
