"""Every screen: accessible in light and dark, from a phone to a wide desk, with a clean console."""

from __future__ import annotations

import asyncio
import gzip
import re
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, ViewportSize, expect

from tests.e2e.client import Client
from tests.server import ROOT, ServerProcess
from tests.web.conftest import NO_PACKAGES, missing
from tests.web.visitor import Visitor, part, scripted

AXE = ROOT / "web" / "node_modules" / "axe-core" / "axe.min.js"
BUDGET_BYTES = 130 * 1000
RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice']"
TABLE = (
    "# A title\n\nA [link](https://example.org) and `code`.\n\n"
    "| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done"
)
MIXED = scripted(
    part(1, TABLE),
    part(2, "Half a thought", outcome="fail"),
    part(3, "Still at it", outcome="hang"),
    {**part(4, "Calling a tool", outcome="hang"), "kind": "message"},
    title="Compare three vector stores",
)
DONE = scripted(part(1, TABLE), part(2, "no", outcome="fail"), title="A note that ended")
GO = """path => {
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
}"""
"""Goes to a screen without loading the page anew, so that axe stays."""
SCREENS = ("/", "/new", "/history", "/worker", "/settings", "/login", "/nowhere-at-all")


async def violations(page: Page) -> list[str]:
    """What axe finds wrong with what is shown now."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(AXE.read_text())  # the policy forbids a script element
    found = await page.evaluate(f"() => axe.run({{runOnly: {RULES}}})")
    return [
        f"{v['id']}: {v['help']} {[n['html'] for n in v['nodes']]}" for v in found["violations"]
    ]


@pytest.fixture
async def example(server: ServerProcess) -> tuple[str, str, str]:
    """Somebody's token, a task of theirs that ended and one that runs."""
    token = server.token("somebody with tasks", "tasks:read tasks:execute admin")
    client = Client(server.port, token)
    done = (await client.call("POST", "/api/agents/execute", DONE)).json()["taskId"]
    running = (await client.call("POST", "/api/tasks", MIXED)).json()["taskId"]
    return token, done, running


async def everywhere(page: Page) -> list[str]:
    """What axe finds wrong in light and dark, on a desk and on a phone."""
    found = []
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 844})
        for scheme in ("light", "dark"):
            await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
            found += [f"{scheme}, {width}: {wrong}" for wrong in await violations(page)]
    return found


@pytest.mark.slow
async def test_axe_finds_nothing_on_any_screen(
    browser: Browser, server: ServerProcess, example: tuple[str, str, str]
) -> None:
    if not AXE.exists():
        missing(NO_PACKAGES)
    token, done, running = example
    context = await browser.new_context(reduced_motion="reduce")
    async with Visitor.arriving(context, server.url, token) as visitor:
        page = await visitor.open("/")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        found: dict[str, list[str]] = {}
        paths = [
            *SCREENS,
            f"/tasks/{running}",
            f"/tasks/{done}",
            f"/tasks/{done}/results",
            "/tasks/none",
        ]
        visitor.allowed += ("404",)
        for path in paths:
            await page.evaluate(GO, path)
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            await expect(page.locator(".loading")).to_have_count(0)
            if path == f"/tasks/{running}":
                await expect(visitor.card("Scripted 2")).to_contain_text("scripted failure")
                await visitor.card("Scripted 1").get_by_role("button", name="Log").click()
                await expect(page.get_by_role("log")).to_be_visible()
            found[path] = await everywhere(page)
        await page.evaluate(GO, "/settings")
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog", name="Keyboard map")).to_be_visible()
        found["keyboard map"] = await everywhere(page)
        assert {path: wrong for path, wrong in found.items() if wrong} == {}
    await context.close()


@pytest.mark.parametrize(("width", "columns"), [(390, 1), (768, 2), (1280, 2), (1920, 2)])
async def test_nothing_overflows_from_a_phone_to_a_wide_desk(
    browser: Browser, server: ServerProcess, example: tuple[str, str, str], width: int, columns: int
) -> None:
    token, done, running = example
    context = await browser.new_context(
        reduced_motion="reduce", viewport=ViewportSize(width=width, height=844)
    )
    async with Visitor.arriving(context, server.url, token) as visitor:
        page = await visitor.open("/")
        page.on("dialog", lambda dialog: asyncio.ensure_future(dialog.accept()))
        paths = [
            "/",
            "/new",
            "/history",
            "/worker",
            "/settings",
            f"/tasks/{done}/results",
            f"/tasks/{running}",
        ]
        wide: list[str] = []
        for path in paths:
            await page.goto(visitor.url + path)
            await expect(page.get_by_role("heading", level=1)).to_be_visible()
            await expect(page.locator(".loading")).to_have_count(0)
            if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                wide.append(path)
        assert wide == []
        await expect(visitor.card("Scripted 2")).to_contain_text("scripted failure")
        script = "e => getComputedStyle(e).gridTemplateColumns.split(' ').length"
        assert await page.locator(".agent-grid").evaluate(script) == columns
    await context.close()


def test_the_first_load_is_small(page_folder: Path) -> None:
    index = (page_folder / "index.html").read_text()
    wanted = [
        page_folder / path for path in re.findall(r'(?:src|href)="\./(assets/[^"]+\.js)"', index)
    ]
    loaded: set[Path] = set()
    while wanted:  # static imports come with it, those in import(…) later
        script = wanted.pop()
        loaded.add(script)
        names = re.findall(r"""(?:from|import)\s*["'`]\./([^"'`]+\.js)""", script.read_text())
        wanted += [path for name in names if (path := script.parent / name) not in loaded]
    assert loaded
    size = sum(len(gzip.compress(script.read_bytes(), 9)) for script in loaded)
    assert size <= BUDGET_BYTES, f"{size} bytes in {sorted(path.name for path in loaded)}"
