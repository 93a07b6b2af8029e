"""How the page is served: its own routes, for-ever assets, a strict policy, and honest absence."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, expect
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.routing import Mount

from api.app import create_app, running
from api.routes import page
from api.server import listen
from api.settings import Settings
from tests.e2e.client import Client
from tests.e2e.serving import inside, make_registry, token
from tests.server import SECRET, ServerProcess
from tests.web.visitor import Visitor, part, scripted


async def test_a_page_that_was_not_built_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path / "nothing")
    async with inside(tmp_path) as alice:
        answer = await alice.call("GET", "/")
        missing = await alice.call("GET", "/assets/index.js")
    assert answer.status == 200
    assert answer.header("content-type") == "text/plain; charset=utf-8"
    assert b"its page was not built here" in answer.body
    assert missing.status == 404


async def test_every_route_of_the_page_is_the_page_and_its_assets_are_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "page" / "assets").mkdir(parents=True)
    (tmp_path / "page" / "index.html").write_text(
        '<base href="/" /><meta name="poststream" content="{}" />'
    )
    (tmp_path / "page" / "assets" / "a-1.js").write_text("let a")
    (tmp_path / "page" / "secret.js").write_text("let s")
    monkeypatch.setattr(page, "FOLDER", tmp_path / "page")
    async with inside(tmp_path / "data", poll_milliseconds=500) as alice:
        stranger = Client(alice.port)
        for path in page.PATHS:
            answer = await stranger.call("GET", path.replace("{task_id}", "x"))
            assert answer.status == 200
            assert answer.header("cache-control") == "no-cache"
            assert answer.header("content-security-policy") == page.POLICY
            assert b"&quot;pollMilliseconds&quot;:500" in answer.body
        script = await stranger.call("GET", "/assets/a-1.js")
        outside = [
            (await stranger.call("GET", path)).status
            for path in ("/assets/../secret.js", "/assets/%2e%2e%2fsecret.js", "/assets/a-2.js")
        ]
    assert script.body == b"let a"
    assert script.header("cache-control") == "public, max-age=31536000, immutable"
    assert script.header("content-type") == "text/javascript; charset=utf-8"
    assert script.header("x-content-type-options") == "nosniff"
    assert outside == [404, 404, 404]


def test_the_policy_lets_nothing_be_written_into_the_document() -> None:
    assert "unsafe" not in page.POLICY
    assert "default-src 'none'" in page.POLICY
    index = (page.FOLDER.parents[1] / "web" / "index.html").read_text()
    assert not re.search(r"<style|\son\w+=|style=|<script(?![^>]*src=)", index)


async def test_the_page_opens(
    browser: Browser, server: ServerProcess, context: BrowserContext
) -> None:
    async with Visitor.arriving(context, server.url, "") as visitor:
        await visitor.page.goto(visitor.url)
        await expect(visitor.page.get_by_role("heading", level=1)).to_be_visible()


async def test_the_page_works_below_any_path_of_a_host(
    context: BrowserContext, tmp_path: Path
) -> None:
    settings = Settings(data_dir=tmp_path, jwt_secret=SecretStr(SECRET), port=0)
    app = create_app(settings, make_registry())
    listener = listen("127.0.0.1", 0)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with running(app):
            yield

    host = Starlette(routes=[Mount("/inner/place", app)], lifespan=lifespan)
    server = uvicorn.Server(uvicorn.Config(host, log_level="warning"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}/inner/place"
    try:
        async with Visitor.arriving(context, url, token()) as visitor:
            opened = await visitor.start(scripted(part(1, "one")))
            await visitor.expect_status("Completed")
            assert opened.url.startswith(f"{url}/tasks/")
            await opened.get_by_role("link", name="History").click()
            await expect(opened.get_by_role("link", name="A task of the tests")).to_be_visible()
    finally:
        server.should_exit = True
        await serving
