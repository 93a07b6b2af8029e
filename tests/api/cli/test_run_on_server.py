"""`poststream run --server`: the task is the server's, and goes on whatever becomes of us."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.client import Client
from tests.answers import Answers, http
from tests.api.cli.support import Command, Finished, Here, environment, script
from tests.proxy import Line, Proxy
from tests.server import ServerProcess


@pytest.fixture
def there(here: Here, server: ServerProcess) -> Here:
    """Runs commands in this process, connected to the server."""
    here.settings = {"server": server.url, "token": server.token()}
    return here


def one(*texts: str, **part: Any) -> list[str]:
    parts = script({"agent": "scripted-1", "texts": list(texts), **part})
    return ["run", "A task", "-a", "scripted-1", "--input-json", parts]


async def run(folder: Path, *arguments: str, **settings: Any) -> Finished:
    """Run a command to its end while this loop serves it."""
    with Command(folder, *arguments, **settings) as command:
        return await asyncio.to_thread(command.finish)


def test_it_shows_reports_and_saves_as_here(there: Here, tmp_path: Path) -> None:
    done = there("run", "d", "-a", "writer", "--output", "out")
    assert done.status == 0
    assert "written\n" in done.out
    assert f"writer/report.md  21 bytes → {Path('out', 'writer', 'report.md')}\n" in done.out
    assert (tmp_path / "out" / "writer" / "report.md").read_text() == "content of the report"
    lines = there(*one("a"), "--json").lines()
    assert [event["seq"] for event in lines] == [1, 2, 3, 4, 5]
    assert not (tmp_path / ".poststream").exists()


def test_options_beat_the_environment(there: Here, server: ServerProcess) -> None:
    token = there.settings["token"]
    there.settings = {"server": "http://127.0.0.1:9", "token": "no.good.token"}
    assert there(*one(), "--server", server.url, "--token", token).status == 0
    agents = there("agents", "--server", server.url, "--token", token, "--json").json()["agents"]
    assert "writer" in [agent["agentRole"] for agent in agents]
    assert there("agents", "--server", "").out == "", "no server: the agents of this machine"


def test_what_the_server_refuses_is_status_4(there: Here) -> None:
    nobody = there("run", "d", "-a", "nobody")
    assert (nobody.status, nobody.out) == (4, "")
    assert nobody.err.startswith("poststream: --agents: there is no agent 'nobody'")
    stranger = there(*one(), "--token", "no.good.token")
    assert (stranger.status, stranger.out) == (4, "")
    assert "token" in stranger.err
    assert there("agents", "--token", "no.good.token").status == 4
    assert "no address" in there(*one(), "--server", "localhost:8000").err


def test_an_unreachable_server_is_status_4(there: Here) -> None:
    for command in (one(), ["agents"]):
        gone = there(*command, "--server", "http://127.0.0.1:9")
        assert (gone.status, gone.out) == (4, "")
        assert "http://127.0.0.1:9 cannot be reached" in gone.err
        assert len(gone.err.splitlines()) == 1


def test_a_failed_task_is_status_1_a_cancelled_one_3(
    there: Here, server: ServerProcess, tmp_path: Path
) -> None:
    assert there(*one(outcome="fail")).status == 1

    async def cancel(task_id: str) -> None:
        async with Client(server.url, server.token()) as client:
            await client.cancel(task_id)

    with Command(tmp_path, *one("x", outcome="hang"), "--json", **there.settings) as command:
        command.wait_for('"x"')
        asyncio.run(cancel(orjson.loads(command.out.splitlines()[0])["taskId"]))
        assert command.finish().status == 3


async def test_a_cut_line_costs_a_second_and_no_event(
    server: ServerProcess, tmp_path: Path
) -> None:
    async with Proxy(server.port, [Line(cut_after=900)]) as proxy:
        options = {"server": proxy.url, "token": server.token()}
        done = await run(tmp_path, *one("a", "b", "c", "d"), "--json", **options)
    assert done.status == 0
    assert [event["seq"] for event in done.lines()] == list(range(1, 9))
    assert "Connection lost (" in done.err
    assert "trying again in 1 s" in done.err
    assert proxy.requests("POST") == 1


def test_an_artifact_cannot_lead_elsewhere(tmp_path: Path) -> None:
    """A server is not always a friend."""
    done = asyncio.run(run_on_evil(tmp_path, "--output", "out/deep/deeper"))
    assert done.status == 1
    assert "Not saved" in done.err
    assert not list(tmp_path.rglob("*evil*"))


async def run_on_evil(folder: Path, *options: str) -> Finished:
    artifact = {"name": "../../evil", "mediaType": "text/plain", "size": 4}
    agent = {"agentRole": "a", "agentName": "A", "agentDescription": ""}
    events: list[dict[str, Any]] = [
        {"type": "task_created", "title": "t", "agents": [agent]},
        {"type": "agent_start", "agentRole": "a", "attempt": 1},
        {"type": "agent_progress", "agentRole": "a", "artifact": artifact},
        {"type": "task_complete", "totalExecutionTime": 1, "failedAgents": []},
    ]
    body = b"".join(
        b"id: %d\nevent: %s\ndata: %s\n\n"
        % (seq, event["type"].encode(), orjson.dumps({"taskId": "t", "seq": seq, **event}))
        for seq, event in enumerate(events, 1)
    )
    answer = http(200, body + b"event: complete\ndata: {}\n\n", content_type="text/event-stream")
    async with Answers([answer, http(200, b"evil")]) as evil:
        return await run(folder, "run", "d", "-a", "a", *options, server=evil.url, token="a.b.c")


def test_an_interrupt_leaves_and_says_how_to_come_back(
    server: ServerProcess, tmp_path: Path
) -> None:
    options = {"server": server.url, "token": server.token()}
    with Command(tmp_path, *one("a", "b", "c", delay=0.3), "--json", **options) as command:
        command.wait_for('"agent_start"')
        command.interrupt()
        left = command.finish()
    assert left.status == 130
    came = left.lines()
    assert "The task goes on." in left.err
    assert options["token"] not in left.err
    lines = [line for line in left.err.splitlines() if line.startswith("curl ")]
    rest = subprocess.run(
        ["bash", "-c", lines[0]],
        env=environment(**options), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert f"\nid: {came[-1]['seq'] + 1}\n" in rest.stdout
    assert f"\nid: {came[-1]['seq']}\n" not in rest.stdout
    assert "event: task_complete\n" in rest.stdout
    assert "-X POST" in lines[1]
    assert f"{server.url}/api/tasks/{came[0]['taskId']}/cancel" in lines[1]


async def test_an_interrupt_before_any_answer_promises_nothing(tmp_path: Path) -> None:
    async with Answers([]) as mute:
        options = {"server": mute.url, "token": "a.b.c"}
        with Command(tmp_path, *one(), **options) as command:
            await asyncio.to_thread(command.wait_for, "Connection lost")
            command.interrupt()
            left = await asyncio.to_thread(command.finish)
    assert left.status == 130
    assert "had not answered yet" in left.err
