"""Somebody with a browser: a page, a token, and a console that must stay clean."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Self

from playwright.async_api import BrowserContext, ConsoleMessage, Page


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
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

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
        assert unexpected == []

    async def open(self, path: str = "/") -> Page:
        """Sign in with the link the server prints, and go on to a screen."""
        await self.page.goto(f"{self.url}/login?to={path}#token={self.token}")
        return self.page

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)
