"""One task in the browser: streamed, cut, resumed, reloaded, left, cancelled."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
from playwright.async_api import BrowserContext, Dialog, Route, expect

from tests.e2e.client import until
from tests.e2e.serving import process
from tests.proxy import Proxy
from tests.server import ServerProcess
from tests.web.visitor import Visitor, part, scripted

BOTH = scripted(part(1, "one ", "two"), part(2, "three", outcome="fail"))
HANG = scripted(part(1, "here", outcome="hang"))
CUT = ("net::ERR", "Failed to load resource")


def gated(gate: Path, *before: str) -> dict[str, object]:
    """A task that goes on once a file is there."""
    return {
        "description": "Gated",
        "selectedAgents": [*before, "gate"],
        "inputs": {"gate": str(gate)},
    }


async def tasks_of(visitor: Visitor) -> int:
    return len((await visitor.client.get("/api/tasks"))["tasks"])


async def test_the_answer_of_the_post_is_what_the_page_shows(ann: Visitor) -> None:
    page = await ann.start(BOTH)
    await ann.expect_status("Completed")
    await expect(ann.card("Scripted 1")).to_contain_text("one two")
    await expect(ann.card("Scripted 1").locator(".status")).to_have_text("✓Completed")
    await expect(ann.card("Scripted 2")).to_contain_text("scripted failure")
    await expect(ann.card("Scripted 2").locator("code")).to_have_text("agent_failed")
    await expect(page.get_by_role("link", name="View results")).to_be_visible()
    assert ann.asked == [("POST", "/api/agents/execute/stream", None)]


async def test_the_time_line_tells_who_waited_and_who_worked_as_a_table_too(ann: Visitor) -> None:
    body = scripted(part(1, "one", delay=0.2), part(2, "two"), executionMode="sequential")
    page = await ann.start(body)
    await ann.expect_status("Completed")
    await expect(page.locator(".chart-span[data-tone=completed]")).to_have_count(2)
    await expect(page.locator(".chart-queue")).to_have_count(2)
    rows = page.get_by_role("table", name="Time line of the agents").get_by_role("row")
    waited = await rows.nth(2).get_by_role("cell").nth(1).inner_text()
    assert float(waited.split()[0]) >= 200, waited


async def test_a_double_click_starts_one_task(ann: Visitor) -> None:
    page = await ann.fill(HANG)
    await page.get_by_role("button", name="Start", exact=True).dblclick()
    await ann.expect_status("Running")
    assert ann.posts() == ["/api/agents/execute/stream"]
    assert await tasks_of(ann) == 1


async def test_a_reload_before_the_answer_finds_the_task(ann: Visitor) -> None:
    ann.allowed += CUT
    page = await ann.fill(HANG)
    await page.route("**/execute/stream", _take_and_say_nothing, times=1)
    await page.get_by_role("button", name="Start", exact=True).click()
    await until(_started(ann), "the server has taken it")
    await page.goto(f"{ann.url}/new")
    await page.wait_for_url("**/tasks/*")
    await ann.expect_status("Running")
    assert await tasks_of(ann) == 1


async def test_a_cut_stream_is_resumed_where_it_was(
    context: BrowserContext, server: ServerProcess, folder: Path
) -> None:
    gate = folder / "gate"
    async with (
        Proxy(server.port) as proxy,
        Visitor.arriving(context, proxy.url, server.token("cut")) as visitor,
    ):
        visitor.allowed += CUT
        page = await visitor.start(gated(gate))
        await expect(visitor.card("Gate")).to_contain_text("waiting")
        await proxy.cut()
        await expect(page.get_by_text("Connection lost; the task goes on")).to_be_visible()
        gate.touch()
        await visitor.expect_status("Completed")
        await expect(visitor.card("Gate").locator(".agent-text")).to_have_text("waiting")
        streams = [asked for asked in visitor.asked if asked[1].endswith("/stream")]
        assert [method for method, _, _ in streams] == ["POST", "GET"]
        assert streams[1][2] == "3"


async def test_it_tries_after_1_2_4_8_and_10_seconds_then_says_so(ann: Visitor) -> None:
    ann.allowed += CUT
    page = await ann.start(HANG)
    await ann.expect_status("Running")
    task_id = page.url.rpartition("/")[2]
    await page.clock.install()
    await page.goto("about:blank")
    await page.route("**/stream", lambda route: route.abort())
    await page.goto(f"{ann.url}/tasks/{task_id}")
    ann.asked.clear()
    for attempt, seconds in enumerate((1, 2, 4, 8, 10), start=1):
        await expect(page.locator("[data-link=waiting]")).to_contain_text(f"Try {attempt} of 5")
        tried = len(ann.asked)
        await page.clock.run_for(seconds * 1000 - 300)
        assert len(ann.asked) == tried
        await page.clock.run_for(400)
        await until(_more(ann, tried), "it tried again")
    await expect(page.get_by_text("Connection lost, the task goes on.")).to_be_visible()
    await page.unroute("**/stream")
    await page.get_by_role("button", name="Try again").click()
    await expect(page.locator("[data-link]")).to_have_count(0)
    await ann.expect_status("Running")


async def test_five_silent_minutes_are_told_with_a_way_to_check_and_to_cancel(ann: Visitor) -> None:
    page = await ann.open("/")
    await page.clock.install()
    await ann.start(HANG)
    await ann.expect_status("Running")
    await page.clock.run_for(4 * 60_000)
    await expect(page.get_by_text("No news for 5 minutes")).to_have_count(0)
    await page.clock.run_for(62_000)
    alert = page.get_by_role("alert").filter(has_text="No news for 5 minutes")
    await expect(alert).to_be_visible()
    await expect(alert.get_by_role("button", name="Cancel")).to_be_visible()
    streams = len(ann.asked)
    await alert.get_by_role("button", name="Check").click()
    await expect(alert).to_have_count(0)
    await until(_more(ann, streams), "it asked again")


async def test_a_reload_shows_the_running_task_with_everything_that_was_said(ann: Visitor) -> None:
    page = await ann.start(HANG)
    await expect(ann.card("Scripted 1")).to_contain_text("here")
    page.on("dialog", _accept)
    await page.reload()
    await expect(ann.card("Scripted 1")).to_contain_text("here")
    await expect(page.get_by_role("button", name="Cancel")).to_be_enabled()
    await page.goto(f"{ann.url}/")
    await expect(
        page.get_by_role("listitem").filter(has_text="A task of the tests")
    ).to_be_visible()
    await expect(page.get_by_role("link", name=re.compile("1 active"))).to_be_visible()
    assert ann.posts() == ["/api/agents/execute/stream"]


async def test_leaving_a_running_task_asks_and_closes_its_stream(ann: Visitor) -> None:
    page = await ann.start(HANG)
    await ann.expect_status("Running")
    await page.get_by_role("link", name="History").click()
    dialog = page.get_by_role("dialog", name="Leave the running task?")
    await dialog.get_by_role("button", name="Stay").click()
    await expect(page).to_have_url(re.compile("/tasks/"))
    await page.get_by_role("link", name="History").click()
    async with page.expect_event("requestfailed") as closed:
        await dialog.get_by_role("button", name="Leave").click()
    assert (await closed.value).url.endswith("/stream")
    await expect(page).to_have_url(re.compile("/history$"))


async def test_closing_the_tab_of_a_running_task_asks(ann: Visitor) -> None:
    page = await ann.start(HANG)
    await ann.expect_status("Running")
    asked: list[str] = []

    async def answer(dialog: Dialog) -> None:
        asked.append(dialog.type)
        await dialog.accept()

    page.on("dialog", answer)
    await page.goto("about:blank")
    assert asked == ["beforeunload"]


async def test_cancel_asks_once_and_the_task_ends_cancelled(ann: Visitor) -> None:
    page = await ann.start(HANG)
    await ann.expect_status("Running")
    await page.get_by_role("button", name="Cancel").click()
    await page.get_by_role("button", name="Cancel the task").click()
    await ann.expect_status("Cancelled")
    await expect(ann.card("Scripted 1").locator(".status")).to_have_text("⊘Cancelled")
    await expect(page.get_by_role("link", name="View results")).to_be_visible()


async def test_a_token_that_ends_meanwhile_asks_for_a_new_one_and_the_task_goes_on(
    context: BrowserContext, server: ServerProcess, folder: Path
) -> None:
    gate = folder / "gate"
    subject = "somebody whose token ends"
    short = server.token(subject, ttl_seconds=4)
    async with Visitor.arriving(context, server.url, short) as visitor:
        visitor.allowed += (*CUT, "401")
        page = await visitor.start(gated(gate))
        await expect(visitor.card("Gate")).to_contain_text("waiting")
        dialog = page.get_by_role("dialog", name="Sign in again")
        await expect(dialog).to_be_visible(timeout=15_000)
        await dialog.get_by_label("Token or login link").fill("not a token")
        await dialog.get_by_role("button", name="Sign in").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("This is no token")
        await dialog.get_by_label("Token or login link").fill(server.token(subject))
        await dialog.get_by_role("button", name="Sign in").click()
        await expect(dialog).to_have_count(0)
        gate.touch()
        await visitor.expect_status("Completed")
        await expect(visitor.card("Gate").locator(".agent-text")).to_have_text("waiting")


async def test_a_server_killed_and_started_again_under_the_open_page(
    context: BrowserContext, folder: Path
) -> None:
    gate = folder / "gate"
    with process(folder) as server:
        server.start(poll_milliseconds=250)
        token = server.token("patient")
        async with Visitor.arriving(context, server.url, token) as visitor:
            visitor.allowed += CUT
            page = await visitor.start(gated(gate))
            await expect(visitor.card("Gate")).to_contain_text("waiting")
            await asyncio.to_thread(server.kill)
            await expect(page.get_by_text("Connection lost; the task goes on")).to_be_visible()
            await expect(page.get_by_role("img", name="Server away")).to_be_visible()
            await asyncio.to_thread(server.restart)
            await page.evaluate("dispatchEvent(new Event('online'))")  # no need to wait for the try
            await expect(visitor.card("Gate")).to_contain_text("attempt 2")
            gate.touch()
            await visitor.expect_status("Completed")
            await expect(visitor.card("Gate").locator(".agent-text")).to_have_text("waiting")
            assert visitor.posts() == ["/api/agents/execute/stream"]


async def _take_and_say_nothing(route: Route) -> None:
    """The server gets the request; the page never hears of it."""
    request = route.request
    kept = ("authorization", "content-type", "idempotency-key")
    async with httpx.AsyncClient() as client:
        await client.post(
            request.url.replace("/api/agents/execute/stream", "/api/tasks"),
            content=request.post_data or "",
            headers={name: request.headers[name] for name in kept},
        )


def _started(visitor: Visitor) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return await tasks_of(visitor) == 1

    return holds


async def _accept(dialog: Dialog) -> None:
    await dialog.accept()


def _more(visitor: Visitor, than: int) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        return len(visitor.asked) > than

    return holds
