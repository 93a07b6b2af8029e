"""A browser's own EventSource, which sends no header, reads a stream with a ticket."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext

from tests.e2e.client import task
from tests.proxy import Line, Proxy
from tests.server import ServerProcess
from tests.web.visitor import Visitor

TALK = task({"agent": "scripted-1", "repeat": 20, "nonce": True})

READ = """([path, types]) => new Promise((resolve) => {
  const source = new EventSource(path), heard = [];
  for (const type of types) {
    source.addEventListener(type, (event) => heard.push(JSON.parse(event.data).seq));
  }
  source.addEventListener("error", () => {
    if (source.readyState === EventSource.CLOSED) resolve(heard);
  });
})"""
"""Every number it heard, once it gives up for good."""


@pytest.mark.slow
async def test_it_is_cut_resumes_by_itself_and_stops_when_nothing_is_left(
    context: BrowserContext, server: ServerProcess, ann: Visitor
) -> None:
    log = await ann.client.run(TALK)
    task_id = log[0].data["taskId"]
    made = await ann.client.call("POST", "/api/stream-tickets", {"taskId": task_id})
    types = sorted({frame.type for frame in log})
    async with Proxy(server.port) as proxy:
        page = await context.new_page()
        await page.goto(f"{proxy.url}/healthz")
        await proxy.cut()  # the stream gets a connection of its own
        proxy.lines.append(Line(cut_after=1500))
        path = f"/api/tasks/{task_id}/stream?ticket={made.json()['ticket']}"
        heard = await page.evaluate(READ, [path, types])
        assert heard == [frame.seq for frame in log]
        asked = [sent for sent in proxy.sent if b"/stream?ticket=" in sent]
        requests = b"".join(asked).split(b"GET /api/tasks")[1:]
        cursors = [b"ast-event-id" in request.lower() for request in requests]
        assert cursors == [False, True, True], "cut, resumed to the end, and told that it was all"
        assert b"authorization" not in b"".join(asked).lower()


async def test_the_documentation_opens_without_a_complaint(
    context: BrowserContext, server: ServerProcess
) -> None:
    async with Visitor.arriving(context, server.url, "") as visitor:
        answer = await visitor.page.goto(f"{server.url}/docs")
        assert answer is not None
        assert answer.status == 200
        heading = visitor.page.get_by_role("heading", name="POST /api/agents/execute/stream")
        assert await heading.is_visible()
        colour = "getComputedStyle(document.querySelector('td')).borderBottomStyle"
        assert await visitor.page.evaluate(colour) == "solid", "the style is let through"
