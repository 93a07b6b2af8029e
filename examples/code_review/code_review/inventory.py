"""What there is: files, lines, sizes, languages."""

from __future__ import annotations

from collections import Counter
from typing import Any

from orchestrator.kinds.background import ProgressHandle

from .git import Repository
from .languages import language_of
from .task import RepositoryTask
from .walk import Walk


class Inventory(RepositoryTask):
    """Counts what git tracks."""

    def look_at(self, repository: Repository, handle: ProgressHandle) -> dict[str, Any]:
        """Read every tracked file once."""
        tracked = repository.files()
        walk = Walk(handle, len(tracked), "Counting files")
        files, lines, sizes = Counter[str](), Counter[str](), Counter[str]()
        skipped, size_of = Counter[str](), Counter[str]()
        for name, mode in tracked.items():
            try:
                content = repository.read(name, mode)
            except OSError:
                skipped["unreadable"] += 1
                walk.step(failed=True)
                continue
            size_of[name] = content.size
            if content.data is None:
                skipped[content.skipped] += 1
            else:
                language = language_of(name)
                files[language] += 1
                sizes[language] += content.size
                lines[language] += content.data.count(b"\n")
            walk.step()
        walk.report()
        handle.write(_summary(len(tracked), lines))
        return {
            "name": repository.path.name,
            "commit": repository.commit,
            "files": len(tracked),
            "textFiles": files.total(),
            "lines": lines.total(),
            "bytes": size_of.total(),
            "languages": [
                {
                    "language": language,
                    "files": files[language],
                    "lines": lines[language],
                    "bytes": sizes[language],
                }
                for language in sorted(files, key=lambda name: (-lines[name], name))
            ],
            "largest": [{"path": name, "bytes": size} for name, size in size_of.most_common(10)],
            "skipped": dict(skipped),
        }


def _summary(files: int, lines: Counter[str]) -> str:
    if not lines.total():
        return f"{files:,} tracked files, no text in them.\n"
    (language, most), *_ = lines.most_common(1)
    share = round(100 * most / lines.total())
    return f"{files:,} tracked files, {lines.total():,} lines, {share} % of them {language}.\n"
