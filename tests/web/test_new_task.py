"""The form: what is missing is marked, a refusal keeps everything, order by drag and keyboard."""

from __future__ import annotations

import json
import re

from playwright.async_api import Page, Route, expect

from tests.web.visitor import Visitor, part, scripted

ONE = scripted(part(1, "one"))


def order(page: Page) -> str:
    """A script that reads the selected roles in their order."""
    return "[...document.querySelectorAll('.agent-choice[data-selected]')].map(e => e.dataset.role)"


async def test_missing_fields_are_marked_before_anything_is_sent(ann: Visitor) -> None:
    page = await ann.open("/new")
    await page.get_by_label("Inputs (JSON)").fill("{broken")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_text("Say what is to be done.")).to_be_visible()
    await expect(page.get_by_text("Select at least one agent.")).to_be_visible()
    await expect(page.get_by_text("This is no JSON")).to_be_visible()
    await expect(page.get_by_label("Description")).to_be_focused()
    assert ann.posts() == []


async def test_a_refused_answer_keeps_the_form_and_marks_its_fields(ann: Visitor) -> None:
    ann.allowed += ("422",)
    page = await ann.fill({**ONE, "description": "Kept as it is"})
    await page.get_by_text("More options").click()
    await page.get_by_label("Priority").fill("99")
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_label("Priority")).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_text("must be at most 10")).to_be_visible()
    await expect(page.get_by_label("Description")).to_have_value("Kept as it is")
    await page.get_by_label("Priority").fill("9")
    await page.get_by_role("button", name="Start", exact=True).click()
    await ann.expect_status("Completed")


async def test_ctrl_enter_starts(ann: Visitor) -> None:
    page = await ann.fill(ONE)
    await page.get_by_label("Description").press("Control+Enter")
    await ann.expect_status("Completed")


async def test_an_agent_that_cannot_work_says_which_setting_is_missing(ann: Visitor) -> None:
    page = await ann.open("/new")
    card = page.locator("[data-role=missing]")
    await expect(card).to_contain_text("Not available: Set POSTSTREAM_SOMETHING.")
    await expect(card.get_by_role("checkbox")).to_be_disabled()


async def test_the_order_of_agents_is_changed_by_keyboard_and_told(ann: Visitor) -> None:
    page = await ann.fill(scripted(part(1), part(2), part(3)))
    await page.locator("#agent-scripted-3").focus()
    await page.keyboard.press("Alt+ArrowUp")
    await page.keyboard.press("Alt+ArrowUp")
    assert await page.evaluate(order(page)) == ["scripted-3", "scripted-1", "scripted-2"]
    await expect(page.get_by_test_id("announcement")).to_have_text(
        "Scripted 3 is now number 1 of 3"
    )
    await page.get_by_role("button", name="Move Scripted 1 down").click()
    assert await page.evaluate(order(page)) == ["scripted-3", "scripted-2", "scripted-1"]


async def test_the_order_of_agents_is_changed_by_dragging_and_is_what_is_sent(ann: Visitor) -> None:
    page = await ann.fill(scripted(part(1), part(2)))
    await page.locator("[data-role=scripted-2]").drag_to(page.locator("[data-role=scripted-1]"))
    async with page.expect_request("**/execute/stream") as sent:
        await page.get_by_role("button", name="Start", exact=True).click()
    body = json.loads((await sent.value).post_data or "")
    assert body["selectedAgents"] == ["scripted-2", "scripted-1"]


async def test_what_was_typed_survives_a_look_at_another_screen(ann: Visitor) -> None:
    page = await ann.open("/new")
    await page.get_by_label("Description").fill("Half a sent")
    await page.get_by_role("link", name="History").click()
    await page.get_by_role("link", name="New task").first.click()
    await expect(page.get_by_label("Description")).to_have_value("Half a sent")


async def test_a_server_that_does_not_answer_is_told_in_the_form(ann: Visitor) -> None:
    ann.allowed += ("net::ERR", "Failed to load")

    async def refuse(route: Route) -> None:
        await route.abort()

    page = await ann.fill(ONE)
    await page.route("**/execute/stream", refuse)
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(
        page.get_by_text(re.compile("The server does not answer; try 1 of 5"))
    ).to_be_visible()
    await page.unroute("**/execute/stream")
    await page.get_by_role("button", name="Now").click()
    await ann.expect_status("Completed")


async def test_a_graph_is_drawn_with_switches_and_a_circle_is_marked(ann: Visitor) -> None:
    ann.allowed += ("422",)
    page = await ann.fill(scripted(part(1), part(2)))
    await page.get_by_role("radio", name="As a graph").check()
    await page.get_by_role("button", name="Scripted 2 starts after Scripted 1").click()
    back = page.get_by_role("button", name="Scripted 1 starts after Scripted 2")
    await back.click()
    await page.get_by_role("button", name="Start", exact=True).click()
    await expect(page.get_by_text("dependsOn goes in a circle")).to_be_visible()
    await back.click()
    async with page.expect_request("**/execute/stream") as sent:
        await page.get_by_role("button", name="Start", exact=True).click()
    body = json.loads((await sent.value).post_data or "")
    assert body["dependsOn"] == {"scripted-2": ["scripted-1"]}
    await ann.expect_status("Completed")
