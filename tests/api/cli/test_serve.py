"""`poststream serve`: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import orjson
import pytest

from api.auth import AuthConfig, Authenticator
from api.bodies import parse_task_request
from api.cli.welcome import REVIEW, curl_line, example_body
from api.client import Client
from orchestrator.clock import Clock
from tests.api.cli.support import COMMAND, Here, poststream
from tests.server import SECRET, ServerProcess

STUBBORN = """
import asyncio

async def stubborn(context):
    await context.progress("running")
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass
"""
AGENTS = """
[agents.stubborn]
kind = "python"
import = "team:stubborn"

[agents.lacking]
kind = "command"
command = ["no-such-program-anywhere"]
install = "apt install it"
"""


def task(**part: Any) -> dict[str, Any]:
    script = [{"agent": "scripted-1", "texts": ["a"], **part}]
    return {"description": "d", "selectedAgents": ["scripted-1"], "inputs": {"script": script}}


# --- what it prints --------------------------------------------------------------------------


def test_it_says_where_it_is_and_lets_its_owner_in(server: ServerProcess) -> None:
    assert f"serves on {server.url}\n" in server.stdout
    assert f"Data folder  {server.data_dir}\n" in server.stdout
    login = re.search(rf"{server.url}/login#token=(\S+)\n", server.stdout)
    assert login is not None
    config = AuthConfig(
        algorithm="HS256", issuer="poststream", audience="poststream", secret=SECRET
    )
    now = Clock().wall_ms() / 1000
    header = (b"authorization", b"Bearer " + login[1].encode())
    principal = Authenticator(config, wall_seconds=lambda: now).authenticate([header], b"")
    assert principal.subject == "local"
    assert principal.scopes == {"tasks:read", "tasks:execute", "admin"}
    assert 6.9 < (principal.expires_at - now) / 86_400 <= 7
    assert login[1] not in server.stderr


def test_the_line_it_prints_streams_a_task(server: ServerProcess) -> None:
    lines = [line for line in server.stdout.splitlines() if line.startswith("curl -N ")]
    assert len(lines) == 1
    assert '"selectedAgents":["writer","scripted-1","scripted-2"]' in lines[0]
    run = subprocess.run(
        ["bash", "-c", lines[0].replace("curl -N", "curl -sS -N")],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert run.stdout.startswith(": keep-alive\nretry: 3000\nid: 1\nevent: task_created\n")
    assert "Thinking…" in run.stdout
    assert run.stdout.rstrip().rpartition("\n\n")[2].startswith("event: complete\n")


def test_a_program_gets_the_same_as_json(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, command=[*COMMAND, "serve", "--json"]) as server:
        server.start()
        found = orjson.loads(server.stdout)
        assert (found["url"], found["dataDir"]) == (server.url, str(server.data_dir))
        assert found["loginUrl"] == f"{server.url}/login#token={found['token']}"
        assert found["agents"] == [f"scripted-{n}" for n in range(1, 9)]


def test_in_production_it_prints_no_token(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.start(environment="production", scripted_agents=None)
        assert "token" not in server.stdout
        assert "eyJ" not in server.stdout
        assert "There are no agents: POSTSTREAM_AGENTS_FILE" in server.stdout
        assert server.terminate(signal.SIGINT) == 0


def test_the_review_team_gets_a_review_and_the_report_waits_for_it() -> None:
    body = example_body(["other", *REVIEW])
    assert body["selectedAgents"] == list(REVIEW)
    assert body["dependsOn"] == {"report": list(REVIEW[:-1])}
    assert parse_task_request(body).mode == "graph"
    without = example_body(["report", "lint", "inventory"])
    assert without["selectedAgents"] == ["inventory", "lint", "report"]
    assert without["dependsOn"] == {"report": ["inventory", "lint"]}


def test_any_other_team_gets_its_own_first_agents() -> None:
    body = example_body(["one", "two", "three", "four"])
    assert body["selectedAgents"] == ["one", "two", "three"]
    assert "inputs" not in body
    parse_task_request(body)
    assert example_body(["scripted-1"])["inputs"]["script"][0]["agent"] == "scripted-1"


def test_the_line_survives_the_shell() -> None:
    body = {"description": 'it\'s $HOME `id` "quoted" \\ ü'}
    line = curl_line("http://localhost", "a.b.c", body).replace("curl", "printf '%s\\n'", 1)
    run = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True)
    words = run.stdout.splitlines()
    assert words[1:3] == ["-H", "Authorization: Bearer a.b.c"]
    assert orjson.loads(words[6]) == body
    assert words[7] == "http://localhost/api/agents/execute/stream"


# --- what it refuses -------------------------------------------------------------------------


def test_a_taken_port_names_who_holds_it_and_how_to_choose_another(
    server: ServerProcess, here: Here, tmp_path: Path
) -> None:
    run = here("serve", "--port", str(server.port))
    assert (run.status, run.out) == (1, "")
    assert len(run.err.splitlines()) == 1
    assert f"Port {server.port} on 127.0.0.1 is in use by process {server.pid} (" in run.err
    assert "api.cli serve)" in run.err
    assert re.search(r"--port (\d+), make run PORT=\1, or POSTSTREAM_PORT=\1\.", run.err)
    assert not (tmp_path / ".poststream").exists(), "nothing was touched"


def test_a_taken_data_folder_names_process_and_address(
    server: ServerProcess, tmp_path: Path
) -> None:
    run = poststream(tmp_path, "serve", "--port", "0", data_dir=server.data_dir)
    assert (run.status, run.out) == (1, "")
    assert f"in use by process {server.pid}, which serves {server.url}. " in run.err
    assert "POSTSTREAM_DATA_DIR" in run.err
    assert "Traceback" not in run.err


@pytest.mark.parametrize(("host", "words"), [("192.0.2.1", "--host"), ("no.host.invalid", "known")])
def test_an_address_that_is_not_ours_is_a_sentence(here: Here, host: str, words: str) -> None:
    run = here("serve", "--host", host)
    assert run.status == 1
    assert words in run.err
    assert len(run.err.splitlines()) == 1


# --- how it ends -----------------------------------------------------------------------------


async def test_a_signal_lets_running_tasks_end_first(tmp_path: Path) -> None:
    with ServerProcess(tmp_path, command=[*COMMAND, "serve"]) as server:
        server.start()
        async with (
            Client(server.url, server.token()) as client,
            client.submit_stream(task(texts=["a", "b"], delay=0.2)) as events,
        ):
            await anext(events)
            assert server.process is not None
            server.process.terminate()
            types = [event.type async for event in events]
        assert types[-1] == "task_complete"
        assert server.wait() == 0
        assert "Traceback" not in server.stderr


async def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    with ServerProcess(tmp_path) as server:
        server.start(drain_seconds=60)
        async with (
            Client(server.url, server.token()) as client,
            client.submit_stream(task(outcome="hang")) as events,
        ):
            await anext(events)
            process = server.process
            assert process is not None
            process.terminate()
            while "stopping: " not in server.stderr:
                assert process.poll() is None
            process.terminate()
            assert server.wait() == 1
        assert "leaving at once" in server.stderr


async def test_agents_that_never_stop_do_not_keep_it(tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    (tmp_path / "team.py").write_text(STUBBORN)
    with ServerProcess(tmp_path) as server:
        server.start(agents_file="agents.toml", drain_seconds=0, cancel_grace_seconds=0.1)
        assert "lacking: the program `no-such-program-anywhere` is not" in server.stdout
        async with (
            Client(server.url, server.token()) as client,
            client.submit_stream({"description": "d", "selectedAgents": ["stubborn"]}) as events,
        ):
            while (await anext(events)).type != "agent_progress":
                pass
        assert server.terminate() == 0
        assert "agent did not stop" in server.stderr
        assert "leaving although some tasks do not end" in server.stderr
