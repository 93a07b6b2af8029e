"""Runs a linter on the Python files that git tracks.

    python -m code_review.tracked FOLDER PROGRAM [ARGUMENT …]

Linters that walk a folder follow symbolic links in it, so a link in a repository of somebody else
would make them quote a file of this machine. They get a list of regular files instead.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from .git import Repository, RepositoryError


def main() -> None:
    """Become the linter; exit status 2 when that cannot be."""
    folder, program, *arguments = sys.argv[1:]
    try:
        files = Repository(folder).python_files()
        if not files:  # without any it would look for files itself
            files = [str(Path("empty.py").resolve())]
            Path(files[0]).touch()
        os.execv(program, [program, *arguments, *files])
    except RepositoryError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"cannot check {len(files):,} files at once: {error.strerror}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
