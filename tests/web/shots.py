"""Takes the pictures of README.md, of the code-review team at work on this repository.

python -m tests.web.shots     (`make shots`)
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from pathlib import Path

from playwright.async_api import Browser, Page, ViewportSize, async_playwright, expect

from tests.server import ROOT, ServerProcess
from tests.web.conftest import find_browser

FOLDER = ROOT / "docs" / "images"
TEAM = ("inventory", "history", "complexity", "lint", "security", "report")
DESK, PHONE = ViewportSize(width=1280, height=860), ViewportSize(width=390, height=844)


async def start(page: Page) -> None:
    """Start a review as a person does."""
    await page.get_by_label("Description").fill("Review this repository")
    for role in TEAM:
        await page.locator(f"#agent-{role}").check()
    await page.get_by_role("radio", name="As a graph").check()
    for switch in await page.locator('[aria-label^="Report starts after"]').all():
        await switch.click()
    await page.get_by_role("button", name="Start", exact=True).click()


async def shots(browser: Browser, url: str, token: str) -> None:
    """All pictures."""
    for name, scheme, viewport in (
        ("light", "light", DESK), ("dark", "dark", DESK), ("mobile", "light", PHONE),
    ):  # fmt: skip
        context = await browser.new_context(
            viewport=viewport, color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce", device_scale_factor=2 if viewport is PHONE else 1,
        )  # fmt: skip
        page = await context.new_page()
        await page.goto(f"{url}/login?to=/new#token={token}")
        await start(page)
        await expect(page.locator("[data-agent][data-status=completed]")).not_to_have_count(0)
        await expect(page.locator("[data-agent=lint][data-status=completed]")).to_be_visible()
        await page.screenshot(path=FOLDER / f"task-{name}.png")
        await expect(page.get_by_role("link", name="View results")).to_be_visible(timeout=60_000)
        await page.get_by_role("link", name="View results").click()
        await expect(page.get_by_role("heading", name="Where to look first")).to_be_visible()
        await page.screenshot(path=FOLDER / f"results-{name}.png")
        await page.goto(f"{url}/history")
        await expect(page.get_by_role("row")).not_to_have_count(0)
        await page.screenshot(path=FOLDER / f"history-{name}.png")
        await context.close()


async def main() -> None:
    """Serve the example's team and take the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    found = find_browser()
    if found is None:
        sys.exit("There is no browser: apt-get install chromium-headless-shell")
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        agents = ROOT / "examples" / "code_review" / "agents.toml"
        url = server.start(agents_file=agents, scripted_agents=0)
        token = server.token("ann", "tasks:read tasks:execute admin")
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(
                executable_path=found, args=["--disable-gpu", "--disable-dev-shm-usage"]
            )
            await shots(browser, url, token)
            await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
