"""The worker's page: its switch asks first, its stop is watched, its log is alive."""

from __future__ import annotations

import asyncio
from pathlib import Path

from playwright.async_api import BrowserContext, expect

from tests.e2e.serving import process
from tests.web.visitor import Visitor, part, scripted

ADMIN = "tasks:read tasks:execute admin"


async def test_the_loop_is_stopped_watched_and_started_again(
    context: BrowserContext, folder: Path
) -> None:
    gate = folder / "gate"
    with process(folder) as server:
        server.start(poll_milliseconds=250)
        token = server.token("admin", ADMIN)
        async with Visitor.arriving(context, server.url, token) as visitor:
            visitor.allowed += ("409",)
            body = {
                "description": "Gated",
                "selectedAgents": ["gate"],
                "inputs": {"gate": str(gate)},
            }
            await visitor.client.call("POST", "/api/tasks", body)
            page = await visitor.open("/worker")
            loop = page.get_by_role("region", name="Worker loop")
            await expect(loop).to_contain_text("1 of 64 slots")
            await page.clock.install()
            await page.get_by_role("button", name="Stop").click()
            await expect(loop.locator(".runner-state .status")).to_have_text("‖Draining")
            await page.clock.run_for(6000)
            await expect(page.get_by_text("Draining, 1 task still runs.")).to_be_visible()
            await expect(page.get_by_role("button", name="Stop now")).to_be_visible()
            await asyncio.to_thread(gate.touch)
            await page.clock.resume()
            await expect(loop.locator(".runner-state .status")).to_have_text("○Stopped")
            await expect(page.get_by_role("log")).to_contain_text("stop")
            # Started elsewhere meanwhile: this page attaches instead of failing.
            await visitor.client.call("POST", "/api/task-runner/start", None)
            start = page.get_by_role("button", name="Start", exact=True)
            if await start.count():
                await start.click()
            await expect(loop.locator(".runner-state .status")).to_have_text("◐Running")


async def test_lines_come_live_and_are_found_again_after_a_reload(
    context: BrowserContext, folder: Path
) -> None:
    with process(folder) as server:
        server.start(poll_milliseconds=250)
        token = server.token("admin", ADMIN)
        async with Visitor.arriving(context, server.url, token) as visitor:
            page = await visitor.open("/worker")
            log = page.get_by_role("log")
            await expect(log).to_contain_text("start")
            await visitor.client.call(
                "POST", "/api/tasks", scripted(part(1, "x"), title="Seen live")
            )
            await expect(log).to_contain_text("Seen live")
            await page.reload()
            await expect(log).to_contain_text("Seen live")
            await page.get_by_label("Search in: Log of the worker").fill("seen LIVE")
            await expect(log.locator("mark").first).to_have_text("Seen live")
            await page.get_by_label("Search in: Log of the worker").fill("")
            await page.get_by_role("button", name="Clear the view").click()
            await expect(log).to_contain_text("Nothing yet.")


async def test_without_the_scope_the_switch_says_why(ann: Visitor) -> None:
    page = await ann.open("/worker")
    stop = page.get_by_role("button", name="Stop")
    await expect(stop).to_have_attribute("aria-disabled", "true")
    await expect(stop).to_have_attribute("title", "This needs a token with the scope admin")
