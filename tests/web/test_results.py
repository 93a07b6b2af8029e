"""Results: Markdown that can do no harm, files with a look into them, and hostile agents."""

from __future__ import annotations

from playwright.async_api import expect

from tests.web.visitor import Visitor, part, scripted

HOSTILE = "\n\n".join(
    [
        "<script>document.title = 'taken'</script>",
        "<img src=x onerror=\"document.title='taken'\">",
        "[click](javascript:document.title='taken') [data](data:text/html,<script>1</script>)",
        "![spy](https://spy.example/p.png)",
        "\x1b[31mred\x1b[0m \x1b]8;;https://spy.example\x07link\x1b]8;;\x07",
        "safe\u202egnp.exe\u202c and \u2066isolated\u2069",
    ]
)
FILES = {
    "note.md": "# A heading\n\n<script>document.title = 'taken'</script>",
    "page.html": "<script>document.title = 'taken'</script><b>bold</b>",
    "a b'c #é.txt": "x",
}


async def test_what_a_hostile_agent_writes_is_harmless_everywhere(ann: Visitor) -> None:
    foreign: list[str] = []
    ann.page.on("request", lambda r: foreign.append(r.url) if ann.url not in r.url else None)
    hostile = scripted(
        part(1, HOSTILE),
        part(2, HOSTILE, kind="message"),
        title="<b>bold</b>\u202e title",
        description=HOSTILE,
    )
    page = await ann.start(hostile)
    await ann.expect_status("Completed")
    await ann.card("Scripted 2").get_by_role("button", name="Log").click()
    log = page.get_by_role("log")
    await expect(log).to_contain_text("<script>")
    assert "\x1b" not in await log.inner_text()
    assert "\u202e" not in await page.locator("body").inner_text()
    await page.get_by_role("link", name="View results").click()
    output = page.get_by_role("tabpanel")
    await page.get_by_role("tab", name="Scripted 1").click()
    await expect(output).to_contain_text("<script>")
    await expect(output.locator("script, img, iframe, [onerror]")).to_have_count(0)
    await expect(output.locator("a[href^='javascript'], a[href^='data']")).to_have_count(0)
    await expect(output.get_by_role("link", name="Picture: spy")).to_have_attribute(
        "rel", "noopener noreferrer nofollow"
    )
    for path in ("/", "/history"):
        await page.goto(ann.url + path)
        await expect(page.get_by_role("link", name="<b>bold</b> title")).to_be_visible()
        assert "\u202e" not in await page.locator("body").inner_text()
    assert await page.title() != "taken"
    assert foreign == []


async def test_files_are_previewed_as_text_and_downloaded(ann: Visitor) -> None:
    page = await ann.start(
        {"description": "Files", "selectedAgents": ["librarian"], "inputs": {"files": FILES}}
    )
    await ann.expect_status("Completed")
    await page.get_by_role("link", name="View results").click()
    await page.get_by_role("button", name="Preview page.html").click()
    dialog = page.get_by_role("dialog", name="page.html")
    await expect(dialog).to_contain_text("<script>document.title = 'taken'</script><b>bold</b>")
    async with page.expect_download() as saved:
        await dialog.get_by_role("button", name="Download").click()
    assert (await saved.value).suggested_filename == "page.html"
    await dialog.get_by_role("button", name="Close").click()
    await page.get_by_role("button", name="Preview note.md").click()
    await expect(page.get_by_role("dialog", name="note.md")).to_contain_text("A heading")
    assert await page.title() != "taken"


async def test_the_output_is_shown_as_markdown_or_as_it_was_written(ann: Visitor) -> None:
    page = await ann.start(scripted(part(1, "**strong** words")))
    await page.get_by_role("link", name="View results").click()
    await expect(page.get_by_role("tabpanel").locator("strong", has_text="strong")).to_be_visible()
    await page.get_by_label("As it was written").check()
    await expect(page.get_by_role("tabpanel").locator("pre")).to_have_text("**strong** words")


async def test_a_task_is_exported(ann: Visitor) -> None:
    page = await ann.start(scripted(part(1, "one")))
    await ann.expect_status("Completed")
    await page.get_by_text("Export", exact=True).click()
    async with page.expect_download() as saved:
        await page.get_by_role("button", name="Log as JSON lines").click()
    assert (await saved.value).suggested_filename.endswith(".jsonl")
