"""History: filters in the address, pages, and running things again."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from tests.web.visitor import Visitor, part, scripted

GOOD = scripted(part(1, "one"), title="Good one")
BAD = scripted(part(1, "one", outcome="fail"), title="Bad one")


async def run(visitor: Visitor, *bodies: dict[str, object]) -> None:
    for body in bodies:
        await visitor.client.call("POST", "/api/agents/execute", body)


async def test_filters_stand_in_the_address_and_come_back_from_it(ann: Visitor) -> None:
    await run(ann, GOOD, BAD)
    page = await ann.open("/history")
    await expect(page.get_by_role("link", name="Good one")).to_be_visible()
    await page.get_by_label("Status").select_option("failed")
    await expect(page.get_by_role("link", name="Good one")).to_have_count(0)
    await expect(page.get_by_role("link", name="Bad one")).to_be_visible()
    await expect(page).to_have_url(re.compile(r"\?status=failed$"))
    await page.get_by_label("Search in titles").fill("nothing like it")
    await expect(page.get_by_text("No task fits.")).to_be_visible()
    await expect(page).to_have_url(re.compile("q=nothing"))
    await page.reload()
    await expect(page.get_by_label("Status")).to_have_value("failed")
    await expect(page.get_by_label("Search in titles")).to_have_value("nothing like it")
    await page.get_by_role("button", name="Clear").click()
    await expect(page.get_by_role("link", name="Good one")).to_be_visible()


async def test_pages_go_to_older_ones_and_back(ann: Visitor) -> None:
    await run(ann, *({**GOOD, "title": f"Task {number}"} for number in range(27)))
    page = await ann.open("/history")
    await expect(page.get_by_role("row")).to_have_count(26)
    await page.get_by_role("button", name="Older").click()
    await expect(page.get_by_role("row")).to_have_count(3)
    await expect(page.get_by_role("link", name="Task 0", exact=True)).to_be_visible()
    await expect(page).to_have_url(re.compile("cursor="))
    await page.get_by_role("button", name="Newest").click()
    await expect(page.get_by_role("link", name="Task 26")).to_be_visible()


async def test_a_task_is_run_again_and_the_form_filled_like_it(ann: Visitor) -> None:
    await run(ann, {**GOOD, "timeoutSeconds": 77})
    page = await ann.open("/history")
    await page.get_by_role("button", name="Run like Good one").click()
    await expect(page.get_by_label("Title")).to_have_value("Good one")
    await expect(page.locator("#agent-scripted-1")).to_be_checked()
    await page.get_by_text("More options").click()
    await expect(page.get_by_label("Time limit")).to_have_value("77")
    await page.goto(f"{ann.url}/history")
    await page.get_by_role("button", name="Run Good one again").click()
    await ann.expect_status("Completed")
    assert len((await ann.client.get("/api/tasks"))["tasks"]) == 2


async def test_what_failed_is_retried_from_the_task(ann: Visitor, folder: Path) -> None:
    page = await ann.start(scripted(part(1, "fine"), part(2, "no", outcome="fail")))
    await ann.expect_status("Completed")
    await page.get_by_role("button", name="Retry failed").click()
    await expect(ann.card("Scripted 2")).to_contain_text("attempt 2")
    await ann.expect_status("Completed")
    await expect(ann.card("Scripted 1")).not_to_contain_text("attempt")
    assert [path for path in ann.posts() if "retry" in path]


async def test_a_task_is_paused_and_goes_on(ann: Visitor, folder: Path) -> None:
    gate = folder / "gate"
    body = {
        "description": "Paused",
        "selectedAgents": ["gate", "reader"],
        "inputs": {"gate": str(gate)},
    }
    page = await ann.start(body)
    await expect(ann.card("Gate")).to_contain_text("waiting")
    await page.get_by_role("button", name="Pause").click()
    await ann.expect_status("Pausing")
    gate.touch()
    await ann.expect_status("Paused")
    await expect(ann.card("Reader").locator(".status")).to_have_text("○Pending")
    await page.get_by_role("button", name="Resume").click()
    await ann.expect_status("Completed")
    await expect(ann.card("Reader")).to_contain_text("gate=waiting;")


async def test_a_task_is_deleted_after_a_question(ann: Visitor) -> None:
    page = await ann.start(GOOD)
    await ann.expect_status("Completed")
    await page.get_by_role("button", name="Delete").click()
    dialog = page.get_by_role("dialog", name="Delete this task?")
    await expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    await dialog.get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("Nothing has run yet.")).to_be_visible()
    assert (await ann.client.get("/api/tasks"))["tasks"] == []
