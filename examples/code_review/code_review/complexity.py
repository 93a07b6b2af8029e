"""How hard the code is to follow: cyclomatic complexity of every function."""

from __future__ import annotations

from collections import Counter
from typing import Any

import lizard

from orchestrator.kinds.background import ProgressHandle

from .git import Repository
from .task import RepositoryTask
from .walk import Walk

MAX_FILES = 2000
"""Files in the result, the most complex ones."""
MAX_FUNCTIONS = 50
"""Functions in the result, the most complex ones."""

_LONG_LINE = 2000  # bytes; only machines write such lines, and lizard is slow on them


class Complexity(RepositoryTask):
    """Measures with lizard, which parses many languages and runs none of the code."""

    def look_at(self, repository: Repository, handle: ProgressHandle) -> dict[str, Any]:
        """Measure every tracked file in a language lizard knows."""
        tracked = {n: m for n, m in repository.files().items() if lizard.get_reader_for(n)}
        walk = Walk(handle, len(tracked), "Measuring functions")
        skipped: Counter[str] = Counter()
        measured: list[dict[str, Any]] = []
        functions: list[dict[str, Any]] = []
        for name, mode in tracked.items():
            reason, found, failed = _measured(repository, name, mode)
            if reason:
                skipped[reason] += 1
            else:
                functions += found
                measured.append(_file(name, found))
            walk.step(failed=failed)
        walk.report()
        functions.sort(key=lambda f: (-f["complexity"], f["path"], f["line"]))
        measured.sort(key=lambda f: (-f["complexity"], f["path"]))
        mean = sum(f["complexity"] for f in functions) / len(functions) if functions else 0.0
        handle.write(_summary(len(measured), functions, mean))
        return {
            "files": len(measured),
            "functions": len(functions),
            "mean": round(mean, 2),
            "byFile": measured[:MAX_FILES],
            "mostComplex": functions[:MAX_FUNCTIONS],
            "skipped": dict(skipped),
            "failed": walk.failed,
        }


def _measured(
    repository: Repository, name: str, mode: str
) -> tuple[str, list[dict[str, Any]], bool]:
    """Why a file was skipped, its functions, and whether that is a failure."""
    try:
        content = repository.read(name, mode)
        if content.data is None:
            return content.skipped, [], False
        if any(len(line) > _LONG_LINE for line in content.data.split(b"\n")):
            return "minified or generated", [], False
        return "", _functions(name, content.data), False
    except OSError:
        return "unreadable", [], True
    except Exception as error:  # lizard meets code that nobody has tried it on
        return f"not understood ({type(error).__name__})", [], True


def _functions(name: str, data: bytes) -> list[dict[str, Any]]:
    analysis = lizard.analyze_file.analyze_source_code(name, data.decode("utf-8", "replace"))
    return [
        {
            "path": name,
            "line": function.start_line,
            "name": function.name,
            "complexity": function.cyclomatic_complexity,
            "lines": function.nloc,
            "parameters": len(function.parameters),
        }
        for function in analysis.function_list
    ]


def _file(name: str, functions: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "path": name,
        "functions": len(functions),
        "complexity": sum(function["complexity"] for function in functions),
    }


def _summary(files: int, functions: list[dict[str, Any]], mean: float) -> str:
    if not functions:
        return f"{files:,} files without a function.\n"
    worst = functions[0]
    return (
        f"{len(functions):,} functions in {files:,} files, complexity {mean:.1f} on average; the "
        f"highest is {worst['complexity']}, {worst['name']} in {worst['path']}.\n"
    )
