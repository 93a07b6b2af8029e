"""Exports: complete, of running tasks too, safe to open, and never held whole."""

from __future__ import annotations

import contextlib
import io
import random
import tracemalloc
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import orjson
import pytest
from markdown_it import MarkdownIt

from api import downloads
from orchestrator.agents import AgentContext, AgentOptions, AgentRegistry, AgentResult
from orchestrator.errors import AgentError, StorageError, TaskNotFound
from orchestrator.runtime.exports import ExportSource, write_archive, write_report
from tests.e2e.client import Client, task, until
from tests.e2e.serving import inside, make_registry, token
from tests.orchestrator.teams import OWNER, service, submit, team
from tests.orchestrator.teams import read_to_end as read_log

HOSTILE = (
    "````\n<script>alert(1)</script>\n[x](javascript:alert(1)) ![y](http://127.0.0.1/p)\n"
    "\x1b[31mred\x1b[0m \u202egpj.exe\n# not a heading\n~~~\n"
)
HANG = task({"agent": "scripted-1", "texts": ["here"], "outcome": "hang"})


class Writer:
    """Writes hostile text in small pieces, saves a file, and has a result."""

    role, name, description = "writer", "The <b>Writer</b>", "Writes."

    async def run(self, context: AgentContext) -> AgentResult:
        for start in range(0, len(HOSTILE), 3):
            await context.write(HOSTILE[start : start + 3])
        await context.save_artifact("A.md", "# file", "text/markdown")
        await context.save_artifact("a.md", "other", "text/markdown")
        await context.save_artifact("ünï ( [).txt", "x" * 300_000, "text/plain")
        return AgentResult(output={"n": 1, "text": "```"})


def registry() -> AgentRegistry:
    made = make_registry()
    made.register(Writer())
    return made


BODY = {
    "description": "Do <u>it</u>\n```\n| now",
    "title": "A <b>title</b> | [x](javascript:1)",
    "selectedAgents": ["writer", "scripted-1"],
    "inputs": {"script": [{"agent": "scripted-1", "texts": ["one"], "outcome": "fail"}]},
    "metadata": {"run|": "`7`"},
}


async def exported(client: Client, task_id: str, form: str) -> bytes:
    answer = await client.call("GET", f"/api/tasks/{task_id}/export?format={form}")
    assert answer.status == 200, answer
    return answer.body


async def finished(client: Client, body: dict[str, Any] = BODY) -> str:
    return str((await client.run(body))[0].data["taskId"])


async def test_lines_are_the_task_and_then_the_log_byte_for_byte(tmp_path: Path) -> None:
    async with inside(tmp_path, registry=registry()) as alice:
        task_id = await finished(alice)
        body = await exported(alice, task_id, "jsonl")
        assert (
            body == (await alice.call("GET", f"/api/tasks/{task_id}/export")).body.replace(b"", b"")
            or body.partition(b"\n")[2]
        )
        head, _, log = body.partition(b"\n")
        stored = [frame.raw.partition(b"\ndata: ")[2].strip() for frame in await alice.log(task_id)]
        snapshot = await alice.get(f"/api/tasks/{task_id}")
    assert log == b"".join(line + b"\n" for line in stored)
    about = orjson.loads(head)
    assert (about["type"], about["taskId"]) == ("task_export", task_id)
    assert about["lastEventId"] == len(stored)
    assert about["task"]["metadata"] == {"run|": "`7`"}
    for name in ("title", "description", "inputs", "status", "owner", "createdAt", "lastEventId"):
        assert about["task"][name] == snapshot[name]
    assert [(f["agentRole"], f["name"], f["size"]) for f in about["files"]] == [
        ("writer", "A.md", 6), ("writer", "a.md", 5), ("writer", "ünï ( [).txt", 300_000),
    ]  # fmt: skip


async def test_a_running_task_is_exported_up_to_where_it_stands(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await alice.submit(HANG)

        async def said() -> bool:
            return b'"here"' in await exported(alice, task_id, "jsonl")

        await until(said, "the agent has spoken")
        for form in ("jsonl", "md", "zip"):
            assert await exported(alice, task_id, form)
        lines = (await exported(alice, task_id, "jsonl")).splitlines()
        assert orjson.loads(lines[0])["task"]["status"] == "running"
        assert orjson.loads(lines[0])["lastEventId"] == orjson.loads(lines[-1])["seq"]
        assert "running" in (await exported(alice, task_id, "md")).decode()
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")


async def test_the_report_shows_everything_and_carries_out_nothing(tmp_path: Path) -> None:
    async with inside(tmp_path, registry=registry()) as alice:
        report = (await exported(alice, await finished(alice), "md")).decode()
    tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(report)
    kinds = {token.type for block in tokens for token in [block, *(block.children or ())]}
    assert not kinds & {"html_block", "html_inline", "image", "link_open"}
    fences = [token.content for token in tokens if token.type == "fence"]
    shown = HOSTILE.replace("\x1b", "\ufffd").replace("\u202e", "\ufffd")
    assert fences[0] == f"{BODY['description']}\n"
    assert orjson.loads(fences[1]) == BODY["inputs"]
    assert fences[2] == shown + "\n"
    assert orjson.loads(fences[3]) == {"n": 1, "text": "```"}
    assert fences[4] == "scripted failure\n"
    text = MarkdownIt("commonmark").enable("table").render(report)
    assert "<h1>A &lt;b&gt;title&lt;/b&gt; | [x](javascript:1)</h1>" in text
    assert "<h2>The &lt;b&gt;Writer&lt;/b&gt;</h2>" in text
    assert "<td>run|</td>" in text, "a bar in a cell is text"
    assert sum(token.type == "heading_open" for token in tokens) == 7
    assert "\x1b" not in report


async def test_the_report_has_the_text_of_the_last_attempt_only(tmp_path: Path) -> None:
    options = {"a": AgentOptions(max_attempts=2, retry_delay_seconds=0)}
    async with service(team(options, a=_twice)) as opened:
        submission = await submit(opened, "a")
        await read_log(submission.reader)
        source = await opened.export(submission.task_id, owner=OWNER)
        report = b"".join([piece async for piece in write_report(source)]).decode()
    assert report.count("first") == 0
    assert "second" in report


async def _twice(context: AgentContext) -> None:
    await context.write("first" if context.attempt == 1 else "second")
    if context.attempt == 1:
        raise AgentError("again", retryable=True)


async def test_the_archive_has_it_all_and_its_links_lead_to_files(tmp_path: Path) -> None:
    async with inside(tmp_path, registry=registry()) as alice:
        task_id = await finished(alice)
        answer = await alice.call("GET", f"/api/tasks/{task_id}/export?format=zip")
        log = (await exported(alice, task_id, "jsonl")).partition(b"\n")[2]
    assert answer.header("content-type") == "application/zip"
    assert answer.header("content-disposition") == (
        f"attachment; filename*=UTF-8''task-{task_id}.zip"
    )
    assert "sandbox" in str(answer.header("content-security-policy"))
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert archive.testzip() is None
        folder = f"task-{task_id}/"
        files = {name.removeprefix(folder): archive.read(name) for name in archive.namelist()}
        assert all(name.startswith(folder) for name in archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    assert files["events.jsonl"] == log
    about = orjson.loads(files["task.json"])
    assert {f["path"]: len(files[f["path"]]) for f in about["files"]} == {
        "files/writer/A.md": 6, "files/writer/a-2.md": 5,
        "files/writer/ünï ( [).txt": 300_000,
    }  # fmt: skip
    assert files.keys() == {"task.json", "events.jsonl", "report.md"} | {
        f["path"] for f in about["files"]
    }
    tokens = MarkdownIt("commonmark").parse(files["report.md"].decode())
    links = [
        str(token.attrs["href"])
        for block in tokens for token in block.children or () if token.type == "link_open"
    ]  # fmt: skip
    assert len(links) == 3
    for link in links:
        assert (tmp_path / "unpacked" / folder / unquote(link)).is_file()


async def test_unknown_forms_are_refused_and_head_says_what_would_come(tmp_path: Path) -> None:
    async with inside(tmp_path) as alice:
        task_id = await finished(alice, task({"agent": "scripted-1", "texts": ["one"]}))
        path = f"/api/tasks/{task_id}/export"
        for query in ("format=pdf", "format=ZIP", "format=md&format=zip"):
            answer = await alice.call("GET", f"{path}?{query}")
            assert (answer.status, answer.slug) == (400, "invalid-parameter"), query
        for form, kind in (("jsonl", "application/jsonl"), ("md", "text/markdown")):
            head = await alice.call("HEAD", f"{path}?format={form}")
            assert (head.status, head.body) == (200, b"")
            assert str(head.header("content-type")).startswith(kind)
            assert str(head.header("content-disposition")).endswith(f"task-{task_id}.{form}")
        bob = Client(alice.port, token("bob"))
        assert (await bob.call("GET", path)).status == 404


async def test_a_large_task_is_exported_with_little_memory() -> None:
    noise = random.Random(1).randbytes(1024**2)

    async def work(context: AgentContext) -> AgentResult:
        for number in range(12):
            await context.save_artifact(f"{number}.bin", noise)
        for _ in range(60):
            await context.write("<`" + "x" * 99_998)
        return AgentResult()

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        log = sum(map(len, await read_log(submission.reader)))
        assert log > 6_000_000
        for write in (write_archive, write_report):
            tracemalloc.start()
            source = await opened.export(submission.task_id, owner=OWNER)
            size = 0
            async for piece in write(source):
                assert len(piece) <= 2 * 1024**2
                size += len(piece)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert size > 6_000_000
            assert peak < 6 * 1024**2, (write, peak)


async def test_half_a_file_is_none() -> None:
    async def work(context: AgentContext) -> AgentResult:
        await context.save_artifact("big", b"x" * 2_000_000)
        return AgentResult()

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        await read_log(submission.reader)
        source = await opened.export(submission.task_id, owner=OWNER)
        await opened.delete(submission.task_id, owner=OWNER)

        async def is_gone() -> bool:
            try:
                return not [piece async for piece in source.content(source.files[0])]
            except StorageError:
                return True

        await until(is_gone, "its rows are removed")


async def test_an_export_of_a_task_whose_rows_are_being_removed_has_no_hole() -> None:
    async def work(context: AgentContext) -> None:
        for number in range(20):
            await context.progress(f"{number}")

    async with service(team(a=work)) as opened:
        submission = await submit(opened, "a")
        await read_log(submission.reader)
        source = await opened.export(submission.task_id, owner=OWNER)
        with contextlib.closing(opened.database.connect()) as connection:
            connection.execute("DELETE FROM event WHERE seq <= 7")
        with pytest.raises(TaskNotFound):
            [page async for page in source.events()]


async def test_an_export_that_nobody_takes_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(downloads, "UNDRAINED_SECONDS", 0.2)
    body = task({"agent": "scripted-1", "repeat": 400, "size": 40_000, "nonce": True})
    async with inside(tmp_path, max_streams_per_owner=1) as alice:
        task_id = await alice.submit(body)
        await alice.reaches(task_id, "completed")
        path = f"/api/tasks/{task_id}/export"
        async with alice.open("GET", path, buffer=2**12) as response:
            refused = await alice.call("GET", path)
            assert refused.status == 429, "an export takes the place of a stream"

            async def ended() -> bool:
                return (await alice.call("HEAD", path)).status == 200

            await until(ended, "its place is free")
            await response.read_to_end()
            assert not response.ended


async def test_an_export_whose_client_left_is_not_made_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = 0
    real = ExportSource.events

    async def events(self: ExportSource, **bounds: Any) -> AsyncIterator[Any]:
        nonlocal pages
        async for page in real(self, **bounds):
            pages += 1
            yield page

    monkeypatch.setattr(ExportSource, "events", events)
    body = task({"agent": "scripted-1", "repeat": 400, "size": 40_000, "nonce": True})
    async with inside(tmp_path, max_streams_per_owner=1) as alice:
        task_id = await alice.submit(body)
        await alice.reaches(task_id, "completed")
        path = f"/api/tasks/{task_id}/export"
        async with alice.open("GET", path, buffer=2**12) as response:
            response.cut()

        async def ended() -> bool:
            return (await alice.call("HEAD", path)).status == 200

        await until(ended, "its place is free")
        assert pages < 20, "of more than thirty"
