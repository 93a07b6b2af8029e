"""React's strict mode mounts everything twice, in development builds only: nothing starts twice."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, expect

from api.routes import page as served
from tests.e2e.serving import inside, token
from tests.server import ROOT
from tests.web.conftest import NO_PACKAGES, missing
from tests.web.test_client import node
from tests.web.visitor import Visitor, part, scripted

VITE = ROOT / "web" / "node_modules" / "vite" / "bin" / "vite.js"


@pytest.fixture(scope="module")
def development_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page as developers have it."""
    if not VITE.exists():
        missing(NO_PACKAGES)
    folder = tmp_path_factory.mktemp("development")
    run = subprocess.run(
        [node(), str(VITE), "build", "--mode", "development", "--minify", "false"],
        cwd=ROOT / "web", capture_output=True, text=True, check=False, timeout=50,
        env={**os.environ, "NODE_ENV": "development", "PAGE_OUT": str(folder)},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    scripts = [path.read_text() for path in (folder / "assets").glob("*.js")]
    assert any("doubleInvokeEffects" in script for script in scripts), "not a development build"
    return folder


async def test_a_double_mount_and_a_double_click_start_one_task_and_cut_no_stream(
    context: BrowserContext,
    development_build: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(served, "FOLDER", development_build)
    async with inside(tmp_path, poll_milliseconds=250) as alice:
        url = f"http://127.0.0.1:{alice.port}"
        async with Visitor.arriving(context, url, token()) as visitor:
            page = await visitor.fill(scripted(part(1, "one", "two", delay=0.2)))
            await page.get_by_role("button", name="Start", exact=True).dblclick()
            await visitor.expect_status("Completed")
            await expect(visitor.card("Scripted 1")).to_contain_text("onetwo")
            assert visitor.asked == [("POST", "/api/agents/execute/stream", None)]
            task = page.url
            await page.goto(task)
            await visitor.expect_status("Completed")
            assert len((await alice.get("/api/tasks"))["tasks"]) == 1
