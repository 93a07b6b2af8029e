"""What the documents say is so: every setting stands in them, the versions agree."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from api.settings import Settings
from orchestrator.settings import describe_settings

ROOT = Path(__file__).parents[2]
CONNECTION = {"SERVER", "TOKEN"}  # read by the commands, not by a server


def documented_settings() -> set[str]:
    """Names in the first column of README's tables: ``| `MAX_THREADS` | …``, prefix or not."""
    cells = re.findall(r"^\|\s*`(?:POSTSTREAM_)?([A-Z][A-Z0-9_]+)`", readme(), re.MULTILINE)
    return set(cells) - CONNECTION


def readme() -> str:
    path = ROOT / "README.md"
    assert path.is_file(), "there is no README.md"
    return path.read_text(encoding="utf-8")


def test_every_setting_stands_in_the_readme() -> None:
    names = {row.name for row in describe_settings(Settings())}
    missing = sorted(names - documented_settings())
    assert not missing, f"README.md has no table row | `NAME` | … for: {', '.join(missing)}"


def test_the_readme_names_no_setting_that_is_gone() -> None:
    names = {row.name for row in describe_settings(Settings())}
    unknown = sorted(documented_settings() - names)
    assert not unknown, f"README.md lists what is no setting: {', '.join(unknown)}"


def test_the_changelog_is_about_this_version() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    top = re.fullmatch(r"\[(\S+)\] - (Unreleased|\d{4}-\d{2}-\d{2})", headings[0])
    assert top is not None, f"the top heading of CHANGELOG.md is odd: {headings[0]}"
    assert top[1] == version


def test_the_lock_names_no_machine() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    for line in lines:
        assert re.fullmatch(r"#.*|[a-z0-9-]+==\S+( ; [^#]+)?\s*(# via .*)?|", line), line
        assert "://" not in line
        assert "/" not in line.partition("#")[2], line
