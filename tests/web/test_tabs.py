"""Several tabs share the token, not the six connections; a hidden one comes back where it was."""

from __future__ import annotations

from pathlib import Path

from playwright.async_api import BrowserContext, Page, expect

from tests.e2e.client import until
from tests.server import ServerProcess
from tests.web.visitor import Visitor, part, scripted

NOTED = """
window.noted = [];
window.Notification = class {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) { window.noted.push(options.body); }
  close() {}
};
"""


async def show(page: Page, state: str) -> None:
    """Hide a tab, or bring it to the front; a headless browser never does so by itself."""
    await page.evaluate(
        """state => {
          Object.defineProperty(document, "visibilityState", { value: state, configurable: true });
          document.dispatchEvent(new Event("visibilitychange", { bubbles: true }));
        }""",
        state,
    )


async def test_a_new_tab_is_signed_in_by_the_others(ann: Visitor, context: BrowserContext) -> None:
    await ann.open("/")
    other = await context.new_page()
    await other.goto(f"{ann.url}/history")
    await expect(other.get_by_role("heading", name="History")).to_be_visible()
    await other.get_by_label("Menu of").click()
    await other.get_by_role("button", name="Sign out").click()
    await expect(ann.page.get_by_label("Token or login link")).to_be_visible()


async def test_a_hidden_tab_gives_its_stream_to_another_and_comes_back_where_it_was(
    ann: Visitor, context: BrowserContext
) -> None:
    page = await ann.start(scripted(part(1, "one", outcome="hang")))
    await expect(ann.card("Scripted 1")).to_contain_text("one")
    await show(page, "hidden")
    async with page.expect_event("requestfailed") as released:
        other = await context.new_page()
        await other.goto(page.url)
        await expect(other.get_by_role("button", name="Cancel")).to_be_visible()
    assert (await released.value).url.endswith("/stream")
    seen = len(ann.asked)
    await show(page, "visible")

    async def back() -> bool:
        return len(ann.asked) > seen

    await until(back, "it came back")
    method, path, after = ann.asked[-1]
    assert (method, path.endswith("/stream"), after) == ("GET", True, "3")
    await expect(page.locator("[data-link]")).to_have_count(0)
    await other.close()


async def test_a_hidden_tab_without_rivals_keeps_its_stream_for_a_minute(ann: Visitor) -> None:
    page = await ann.open("/")
    await page.clock.install()
    await ann.start(scripted(part(1, "one", outcome="hang")))
    await expect(ann.card("Scripted 1")).to_contain_text("one")
    closed: list[str] = []
    page.on("requestfailed", lambda request: closed.append(request.url))
    await show(page, "hidden")
    await page.clock.run_for(59_000)
    assert [url for url in closed if url.endswith("/stream")] == []
    async with page.expect_event("requestfailed"):
        await page.clock.run_for(2000)


async def test_a_finished_task_is_asked_for_again_when_somebody_looks(
    ann: Visitor, server: ServerProcess
) -> None:
    page = await ann.start(scripted(part(1, "no", outcome="fail")))
    await ann.expect_status("Failed")
    task_id = page.url.rpartition("/")[2]
    await show(page, "hidden")
    await ann.client.call("POST", f"/api/tasks/{task_id}/retry", None)
    await show(page, "visible")
    await expect(ann.card("Scripted 1")).to_contain_text("attempt 2")
    await ann.expect_status("Failed")


async def test_the_end_is_told_to_the_desktop_when_nobody_looks(
    ann: Visitor, context: BrowserContext, folder: Path
) -> None:
    gate = folder / "gate"
    await context.add_init_script(NOTED)
    page = await ann.open("/new")
    await page.get_by_role("button", name="Desktop notice").click()
    await ann.start(
        {
            "description": "Told at its end",
            "selectedAgents": ["gate"],
            "inputs": {"gate": str(gate)},
        }
    )
    await expect(ann.card("Gate")).to_contain_text("waiting")
    await show(page, "hidden")
    gate.touch()
    await ann.expect_status("Completed")
    assert await page.evaluate("window.noted") == ["Completed: Told at its end"]
    assert (await page.title()).startswith("✓ done")


async def test_the_end_of_a_task_on_another_screen_is_told_on_the_page(
    ann: Visitor, folder: Path
) -> None:
    gate = folder / "gate"
    body = {"description": "Elsewhere", "selectedAgents": ["gate"], "inputs": {"gate": str(gate)}}
    await ann.client.call("POST", "/api/tasks", body)
    page = await ann.open("/")
    await expect(page.get_by_role("link", name="1 active")).to_be_visible()
    gate.touch()
    await expect(page.get_by_text("Completed: Elsewhere")).to_be_visible()
