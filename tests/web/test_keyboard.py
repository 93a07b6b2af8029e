"""Everything by keyboard alone, what is chosen is kept, and nothing moves for those who ask so."""

from __future__ import annotations

from playwright.async_api import Browser, expect

from tests.server import ServerProcess
from tests.web.visitor import Visitor, part, scripted


async def test_a_task_is_started_and_read_without_a_mouse(ann: Visitor) -> None:
    page = await ann.open("/")
    await expect(page.get_by_role("heading", name="Dashboard")).to_be_visible()
    await page.keyboard.press("n")
    await expect(page.get_by_label("Description")).to_be_focused()
    await page.keyboard.type("By keyboard")
    for _ in range(20):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.id") == "agent-scripted-1":
            break
    await page.keyboard.press("Space")
    await page.keyboard.press("Control+Enter")
    await ann.expect_status("Completed")
    await page.keyboard.press("j")
    await expect(ann.card("Scripted 1")).to_be_focused()
    await page.keyboard.press("l")
    await expect(page.get_by_role("log")).to_contain_text("Completed")
    await page.keyboard.press("v")
    await expect(page.get_by_role("heading", name="By keyboard")).to_be_visible()


async def test_keys_control_a_task_and_sleep_while_somebody_types(ann: Visitor) -> None:
    page = await ann.start(scripted(part(1, "here", outcome="hang"), part(2, "there")))
    await ann.expect_status("Running")
    await expect(page.get_by_role("button", name="Cancel")).not_to_have_attribute(
        "aria-disabled", "true"
    )
    await ann.card("Scripted 1").get_by_role("button", name="Log").click()
    await page.get_by_label("Search in").type("c?")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await ann.card("Scripted 1").focus()
    await page.keyboard.press("c")
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    await page.keyboard.press("c")
    await page.keyboard.press("Enter")
    await ann.expect_status("Cancelled")
    await page.keyboard.press("?")
    await expect(page.get_by_role("dialog", name="Keyboard map")).to_be_visible()


async def test_the_log_follows_until_the_reader_scrolls_up(ann: Visitor) -> None:
    lines = [f"line {number}" for number in range(600)]
    page = await ann.start(scripted({**part(1, *lines), "kind": "message"}))
    await ann.expect_status("Completed")
    await ann.card("Scripted 1").get_by_role("button", name="Log").click()
    log = page.get_by_role("log")
    await expect(log.get_by_text("line 599")).to_be_visible()
    await log.hover()
    await page.mouse.wheel(0, -2000)
    await expect(page.get_by_role("checkbox", name="Follow")).not_to_be_checked()
    await page.get_by_label("Search in").fill("line 59")
    await expect(page.get_by_text("11 lines found")).to_be_visible()
    await page.get_by_label("Level").select_option("error")
    await expect(log).to_contain_text("No line fits.")


async def test_a_theme_is_chosen_and_kept(ann: Visitor) -> None:
    page = await ann.open("/settings")
    await page.get_by_role("radio", name="Dark").check()
    ground = "getComputedStyle(document.body).backgroundColor"
    assert await page.evaluate(ground) == "rgb(12, 17, 27)"
    await page.reload()
    await expect(page.get_by_role("radio", name="Dark")).to_be_checked()
    assert await page.evaluate(ground) == "rgb(12, 17, 27)"


async def test_nothing_moves_for_those_who_ask_so(browser: Browser, server: ServerProcess) -> None:
    moving = "document.getAnimations().filter(a => a.playState === 'running').length"
    counts = []
    for wish in ("no-preference", "reduce"):
        context = await browser.new_context(reduced_motion=wish)
        token = server.token(f"moving {wish}")
        async with Visitor.arriving(context, server.url, token) as visitor:
            page = await visitor.start(scripted(part(1, "here", outcome="hang")))
            await expect(visitor.card("Scripted 1")).to_contain_text("here")
            counts.append(await page.evaluate(moving))
        await context.close()
    assert counts[0] > 0
    assert counts[1] == 0


async def test_a_task_begins_on_the_dashboard_and_screens_are_named(ann: Visitor) -> None:
    page = await ann.open("/")
    await page.get_by_role("textbox", name="New task").fill("Begun here")
    await page.keyboard.press("Enter")
    await expect(page.get_by_label("Description")).to_have_value("Begun here")
    await expect(page.get_by_test_id("announcement")).to_have_text("New task · Poststream")
