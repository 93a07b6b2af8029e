"""What changes: commits, authors, and how often each file was touched."""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from orchestrator.kinds.background import ProgressHandle

from .git import Repository
from .task import RepositoryTask
from .walk import Walk

MAX_FILES = 2000
"""Files in the result; those that change least say nothing about hot spots."""


class History(RepositoryTask):
    """Reads `git log` without a single patch.

    Args:
        max_commits: The newest commits to look at; the log of a very old project takes minutes.
    """

    def __init__(self, max_commits: int = 20_000) -> None:
        self._max_commits = max_commits

    def look_at(self, repository: Repository, handle: ProgressHandle) -> dict[str, Any]:
        """Count commits per file."""
        if not repository.commit:
            handle.write("There are no commits yet.\n")
            return {"commits": 0, "authors": 0, "files": [], "notes": ["There are no commits yet."]}
        total = repository.commit_count()
        read = min(total, self._max_commits)
        walk = Walk(handle, read, f"Reading {read:,} commits")
        changes = _Changes()
        arguments = (
            f"--max-count={read}", "--no-renames", "--numstat", "--format=%x01%at%x1f%aE"
        )  # fmt: skip
        with contextlib.closing(repository.log(*arguments)) as log:
            for piece in log:
                if changes.add(piece):
                    walk.step()
        walk.report()
        notes = []
        if repository.is_shallow:
            notes.append(f"The clone is shallow: its history ends after {total:,} commits.")
        if read < total:
            notes.append(f"Only the newest {read:,} of {total:,} commits were read.")
        handle.write(changes.summary() + "".join(f"{note}\n" for note in notes))
        return {**changes.result(set(repository.files())), "notes": notes}


class _Changes:
    """What was counted so far."""

    def __init__(self) -> None:
        self.times: list[int] = []
        self.authors: Counter[str] = Counter()
        self.commits: Counter[str] = Counter()
        self.added: Counter[str] = Counter()
        self.deleted: Counter[str] = Counter()
        self.touched_by: dict[str, set[str]] = {}
        self._author = ""

    def add(self, piece: bytes) -> bool:
        """Take a piece of the log; whether it began a commit."""
        text = os.fsdecode(piece.removeprefix(b"\n"))
        if text.startswith("\x01"):
            time, _, author = text[1:].partition("\x1f")
            self.times.append(int(time))
            self._author = author.lower()
            self.authors[self._author] += 1
            return True
        if text:
            added, deleted, name = text.split("\t", 2)
            self.commits[name] += 1
            self.added[name] += int(added) if added != "-" else 0  # "-": a binary file
            self.deleted[name] += int(deleted) if deleted != "-" else 0
            self.touched_by.setdefault(name, set()).add(self._author)
        return False

    def summary(self) -> str:
        """A sentence for the card."""
        if not self.times:
            return "No commit touches this folder.\n"
        return (
            f"{_count(len(self.times), 'commit')} by {_count(len(self.authors), 'author')} between "
            f"{_date(min(self.times))} and {_date(max(self.times))}.\n"
        )

    def result(self, tracked: set[str]) -> dict[str, Any]:
        """The JSON result: files that still exist, most often changed first."""
        names = [name for name, _ in self.commits.most_common() if name in tracked]
        return {
            "commits": len(self.times),
            "authors": len(self.authors),
            "first": _date(min(self.times)) if self.times else None,
            "last": _date(max(self.times)) if self.times else None,
            "files": [
                {
                    "path": name,
                    "commits": self.commits[name],
                    "added": self.added[name],
                    "deleted": self.deleted[name],
                    "authors": len(self.touched_by[name]),
                }
                for name in names[:MAX_FILES]
            ],
        }


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()
