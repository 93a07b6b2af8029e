"""Somebody with a browser: a page, a token, and a console that must stay clean."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, Self

from playwright.async_api import BrowserContext, ConsoleMessage, Locator, Page, Request, expect

from tests.e2e.client import Client


class Visitor:
    """A tab of somebody who is signed in.

    Args:
        page: The tab.
        url: Address of the server, without a slash at the end.
        token: Whose it is; empty for nobody's.
    """

    def __init__(self, page: Page, url: str, token: str) -> None:
        self.page = page
        self.url = url
        self.token = token
        self.complaints: list[str] = []
        """What the browser complained about: errors, and breaches of the policy."""
        self.allowed: tuple[str, ...] = ()
        """Parts of complaints that a test expects, e.g. of requests that it cuts."""
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and `Last-Event-ID` of every POST and every stream it asked for."""
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", self._noted)

    @classmethod
    @contextlib.asynccontextmanager
    async def arriving(cls, context: BrowserContext, url: str, token: str) -> AsyncIterator[Self]:
        """Open a tab; at the end its console is held against `allowed`."""
        visitor = cls(await context.new_page(), url, token)
        yield visitor
        unexpected = [
            complaint
            for complaint in visitor.complaints
            if not any(part in complaint for part in visitor.allowed)
        ]
        assert not unexpected, unexpected

    @property
    def client(self) -> Client:
        """The same person without a browser."""
        return Client(int(self.url.rpartition(":")[2]), self.token)

    async def open(self, path: str = "/") -> Page:
        """Sign in with the link the server prints, and go on to a screen."""
        await self.page.goto(f"{self.url}/login?to={path}#token={self.token}")
        await self.page.wait_for_url(f"{self.url}{path}")
        return self.page

    async def fill(self, body: dict[str, Any]) -> Page:
        """Open the form and fill it, without sending it."""
        page = await self.open("/new")
        await page.get_by_label("Title").fill(body.get("title", ""))
        await page.get_by_label("Description").fill(body["description"])
        for role in body["selectedAgents"]:
            await page.locator(f"#agent-{role}").check()
        if body.get("executionMode") == "parallel":
            await page.get_by_role("radio", name="At once").check()
        if "inputs" in body:
            await page.get_by_label("Inputs (JSON)").fill(json.dumps(body["inputs"]))
        return page

    async def start(self, body: dict[str, Any]) -> Page:
        """Start a task with the form; the viewer is open then."""
        page = await self.fill(body)
        await page.get_by_role("button", name="Start", exact=True).click()
        await page.wait_for_url("**/tasks/*")
        return page

    def card(self, name: str) -> Locator:
        """The card of an agent."""
        return self.page.get_by_role("listitem", name=f"{name}:")

    async def expect_status(self, word: str) -> None:
        """Wait until the task is shown in a status."""
        status = self.page.get_by_role("region", name="Task", exact=True).locator(".status")
        await expect(status).to_contain_text(word)

    def posts(self) -> list[str]:
        """The paths of its POSTs."""
        return [path for method, path, _ in self.asked if method == "POST"]

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(f"{message.text} {message.location['url']}")

    def _noted(self, request: Request) -> None:
        path = request.url.removeprefix(self.url).partition("?")[0]
        if request.method == "POST" or path.endswith("/stream"):
            self.asked.append((request.method, path, request.headers.get("last-event-id")))


def scripted(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """A task of scripted agents, all at once unless said otherwise."""
    roles = list(dict.fromkeys(part["agent"] for part in parts))
    return {
        "description": "A task of the tests",
        "selectedAgents": roles,
        "executionMode": "parallel",
        "inputs": {"script": list(parts)},
        **fields,
    }


def part(number: int, *texts: str, outcome: str = "ok", **fields: Any) -> dict[str, Any]:
    """What `scripted-{number}` writes, and how it ends."""
    return {
        "agent": f"scripted-{number}", "texts": list(texts), "kind": "content",
        "outcome": outcome, **fields,
    }  # fmt: skip
