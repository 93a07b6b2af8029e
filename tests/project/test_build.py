"""What is shipped: the wheel holds both packages whole, the sdist everything to build and test."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.project.wheel import ROOT, problems

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist of this checkout and the wheel built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=50)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder


def test_the_wheel_holds_both_packages_whole(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    assert problems(wheel) == []


def test_the_sdist_holds_what_builds_and_tests_it(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    needed = {
        "pyproject.toml",
        "constraints.txt",
        "Makefile",
        "hatch_build.py",
        "web/package-lock.json",
        "web/src/main.tsx",
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
    }
    assert needed <= names
    assert {"tests/conftest.py", "tests/project/test_build.py"} <= names
    strange = ("__pycache__", ".venv", "node_modules", "web/dist")
    assert not {name for name in names if any(part in name for part in strange)}
    if (ROOT / "api" / "_web").exists():
        assert {"api/_web/index.html", "api/_web/THIRD_PARTY_LICENSES.md"} <= names
