"""A browser for the tests of the page, and a real server under it.

No browser, or no page: the tests are skipped with the line that installs it; where
`REQUIRE_BROWSER` is set (as in `.ci/run`) they fail instead.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from playwright.async_api import Browser, BrowserContext, async_playwright, expect

from api.routes.page import FOLDER
from tests.e2e.serving import process
from tests.server import ServerProcess
from tests.web.visitor import Visitor

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome", "google-chrome-stable")
NO_BROWSER = (
    "There is no browser: apt-get update && apt-get install chromium-headless-shell, "
    "or name one with BROWSER."
)
NO_PAGE = "The page is not built: make page."
NO_PACKAGES = "The page's packages are not installed: make page."


expect.set_options(timeout=15_000)  # far longer than anything takes, unless the machine is busy


def find_browser() -> str | None:
    """The browser that `BROWSER` names, else the first that is installed."""
    return os.environ.get("BROWSER") or next(filter(None, map(shutil.which, BROWSERS)), None)


def missing(reason: str) -> None:
    """Skip, or fail where the browser tests have to run."""
    if os.environ.get("REQUIRE_BROWSER"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def page_folder() -> Path:
    """Where the built page is."""
    if not (FOLDER / "index.html").exists():
        missing(NO_PAGE)
    return FOLDER


@pytest.fixture(scope="session")
async def browser(page_folder: Path) -> AsyncIterator[Browser]:
    """One browser for all tests; each gets a context of its own."""
    found = find_browser()
    if found is None:
        missing(NO_BROWSER)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=found, args=["--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        await browser.close()


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server for all tests that leave it as it was; each test is somebody of its own there."""
    with process(tmp_path_factory.mktemp("server")) as running:
        # Some tests let minutes pass in the browser only; its page must not miss keep-alives then.
        running.start(cancel_grace_seconds=0.5, poll_milliseconds=250, keepalive_seconds=600)
        yield running


@pytest.fixture
async def context(browser: Browser) -> AsyncIterator[BrowserContext]:
    """A fresh profile."""
    context = await browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(15_000)
    yield context
    await context.close()


@pytest.fixture
async def ann(
    context: BrowserContext, server: ServerProcess, request: pytest.FixtureRequest
) -> AsyncIterator[Visitor]:
    """Somebody nobody else is, signed in, whose console must stay clean."""
    subject = f"ann of {request.node.name}"[:200]
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(
            Visitor.arriving(context, server.url, server.token(subject))
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a server of its own may live."""
    return tmp_path
