"""`poststream run` in this process."""

from __future__ import annotations

import contextlib
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.api.cli.support import COMMAND, Command, Here, environment, script

TEAM = """
import asyncio

async def stubborn(context):
    await context.progress("running")
    while True:
        try:
            await asyncio.sleep(60)
        except BaseException:
            pass

async def writer(context):
    await context.write("\\n".join(f"line {n}" for n in range(100)))
    await context.save_artifact("report.md", "# Report\\n", "text/markdown")

async def wild(context):
    await context.progress("[bold]\\x1b[31mred\\x07", done=1, total=2)
    await context.write("\\x1b[2J[bold]gone\\n")
    return {"found": 3}

async def counter(context):
    return {"found": 3}
"""
AGENTS = """
[agents.echo]
kind = "command"
command = ["echo", "{inputs.path}"]

[agents.lacking]
kind = "command"
command = ["no-such-program-anywhere"]
""" + "\n".join(
    f'[agents.{name}]\nkind = "python"\nimport = "run_team:{name}"\n'
    for name in ("stubborn", "writer", "wild", "counter")
)


IMPATIENT = '\n[agents.impatient]\nkind = "python"\nimport = "run_team:stubborn"\ntimeout = 0.1\n'


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The settings of a process that has the team; one folder, since Python imports it once."""
    folder = tmp_path_factory.mktemp("team")
    (folder / "agents.toml").write_text(AGENTS + IMPATIENT)
    (folder / "run_team.py").write_text(TEAM)
    return {"agents_file": str(folder / "agents.toml"), "scripted_agents": "1"}


@pytest.fixture
def team(here: Here, settings: dict[str, str]) -> Here:
    """Runs commands in this process, with the team."""
    here.settings = settings
    return here


def texts(agent: str, *texts: str, **options: Any) -> dict[str, Any]:
    return {"agent": agent, "texts": list(texts), **options}


# --- how it ends -----------------------------------------------------------------------------


def test_lines_then_the_report(team: Here, tmp_path: Path) -> None:
    parts = script(texts("scripted-1", "a line"), texts("scripted-2", "some text", kind="content"))
    run = team("run", "Do it", "-a", "scripted-1,scripted-2", "--input-json", parts)
    assert run.status == 0
    words = [line.split("s  ", 1)[-1] for line in run.out.splitlines()]
    assert words[0].endswith(": Do it")
    assert words[1:6] == [
        "scripted-1: started", "scripted-1: a line", "scripted-1: done in 0.0 s",
        "scripted-2: started", "scripted-2: done in 0.0 s",
    ]  # fmt: skip
    assert words[6].startswith("scripted-2 ──")
    assert words[7] == "some text"
    assert words[8].startswith("Done in ")
    assert run.err == ""
    assert not (tmp_path / ".poststream").exists(), "the data folder was not touched"


def test_json_lines_are_the_events(team: Here, tmp_path: Path) -> None:
    parts = script(texts("scripted-1", "ü\u2028"))
    run = team("run", "Do it", "--agents", "scripted-1", "--input-json", parts, "--json")
    events = run.lines()
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5]
    assert events[0]["type"] == "task_created"
    assert events[2]["message"] == "ü\u2028"
    assert "\\u2028" in run.out
    assert events[-1]["type"] == "task_complete"
    assert (run.status, run.err) == (0, "")


def test_a_failure_is_status_1(team: Here, tmp_path: Path) -> None:
    parts = script(texts("scripted-1", outcome="fail"))
    run = team("run", "d", "-a", "scripted-1,scripted-2", "--input-json", parts)
    assert run.status == 1
    assert "scripted-1: error: scripted failure" in run.out
    assert "Failed after" in run.out
    lines = team("run", "d", "-a", "scripted-1", "--input-json", parts, "--json")
    assert lines.status == 1
    assert lines.lines()[-1]["code"] == "all_agents_failed"
    assert "scripted failure" in lines.err


def test_what_other_agents_delivered_counts(team: Here, tmp_path: Path) -> None:
    parts = script(texts("scripted-1", outcome="fail"), texts("scripted-2", "x"))
    options = ["--mode", "parallel", "--input-json", parts]
    run = team("run", "d", "-a", "scripted-1", "-a", "scripted-2", *options)
    assert run.status == 0
    assert ", without scripted-1." in run.out


def test_agents_of_a_graph_wait_for_each_other(team: Here, tmp_path: Path) -> None:
    options = ["--depends-on", "scripted-1=scripted-2", "--json"]
    run = team("run", "d", "-a", "scripted-1,scripted-2", *options)
    starts = [e["agentRole"] for e in run.lines() if e["type"] == "agent_start"]
    assert starts == ["scripted-2", "scripted-1"]


def test_an_agent_that_never_stops_does_not_keep_it(
    tmp_path: Path, settings: dict[str, str]
) -> None:
    with Command(
        tmp_path, "run", "d", "-a", "impatient", **settings, cancel_grace_seconds=0.1
    ) as command:
        run = command.finish()
    assert run.status == 1
    assert "impatient: timeout: " in run.out


def test_time_runs_out(team: Here, tmp_path: Path) -> None:
    parts = script(texts("scripted-1", outcome="hang"))
    run = team("run", "d", "-a", "scripted-1", "--input-json", parts, "--timeout", "0.1")
    assert run.status == 1
    assert "used up its active time" in run.out


# --- what it takes and gives -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["d", "-a", "nobody"], "--agents nobody: there is no such agent; there are echo, "),
        (["d", "-a", "lacking"], "--agents lacking: unavailable: "),
        (["d", "-a", "echo,echo"], "must not name an agent twice"),
        (["", "-a", "echo"], "DESCRIPTION: must not be empty"),
        (["d", "-a", "echo", "--title", "x" * 201], "--title: "),
        (["d", "-a", "echo", "--depends-on", "echo=wild"], "--depends-on: "),
        (["d", "-a", "echo", "--mode", "random"], "random"),
        (["d"], "--agents"),
        (["-a", "echo"], "DESCRIPTION"),
    ],
)
def test_a_mistake_is_a_sentence_and_status_2(team: Here, arguments: list[str], words: str) -> None:
    run = team("run", *arguments)
    assert run.status == 2
    assert words.lower() in " ".join(run.err.lower().split())
    assert "traceback" not in run.err.lower()


def test_without_agents_it_says_how_to_get_some(here: Here) -> None:
    run = here("run", "d", "-a", "echo")
    assert run.status == 2
    assert "POSTSTREAM_AGENTS_FILE" in run.err


def test_a_path_is_one_seen_from_here(team: Here, tmp_path: Path) -> None:
    run = team("run", "d", "-a", "echo", "--input", "path=.")
    assert f"\n{tmp_path}\n" in run.out
    assert "\nplain\n" in team("run", "d", "-a", "echo", "-i", "path=plain").out


def test_artifacts_are_saved_by_agent(team: Here, tmp_path: Path) -> None:
    run = team("run", "d", "-a", "writer", "--output", "out/deep")
    path = Path("out", "deep", "writer", "report.md")
    assert (tmp_path / path).read_text() == "# Report\n"
    assert f"writer/report.md  9 bytes → {path}\n" in run.out
    assert "line 99\n" in run.out, "nothing is cut when it goes to a file"
    assert [entry.name for entry in (tmp_path / path).parent.iterdir()] == ["report.md"]
    assert "writer/report.md  9 bytes\n" in team("run", "d", "-a", "writer").out
    json = team("run", "d", "-a", "writer", "--json", "--output", "other")
    assert json.lines()[-1]["type"] == "task_complete"
    assert json.err == f"saved {Path('other', 'writer', 'report.md')}\n"
    (tmp_path / "file").write_text("")
    blocked = team("run", "d", "-a", "writer", "--output", "file")
    assert blocked.status == 1
    assert "is no folder" in blocked.err


def test_agents_cannot_play_with_the_terminal(team: Here, tmp_path: Path) -> None:
    run = team("run", "\x1b[1mloud", "-a", "wild")
    assert "wild: 1/2 [bold]\\x1b[31mred\\x07\n" in run.out
    assert "\\x1b[2J[bold]gone\n" in run.out
    assert "\x1b" not in run.out


def test_json_is_shown_of_an_agent_that_is_alone(team: Here) -> None:
    assert '{\n  "found": 3\n}\n' in team("run", "d", "-a", "counter").out
    assert "found" not in team("run", "d", "-a", "counter,wild").out


# --- Ctrl-C ----------------------------------------------------------------------------------


def test_the_first_interrupt_cancels_the_task(tmp_path: Path, settings: dict[str, str]) -> None:
    parts = script(texts("scripted-1", "here", outcome="hang"))
    options = ["-a", "scripted-1", "--input-json", parts, "--json"]
    with Command(tmp_path, "run", "d", *options, **settings) as command:
        command.wait_for('"here"')
        command.interrupt()
        run = command.finish()
    assert run.status == 3
    assert [e["type"] for e in run.lines()[-3:]] == ["task_state", "agent_error", "task_error"]
    assert run.lines()[-1]["status"] == "cancelled"
    assert "Traceback" not in run.err


def test_the_second_interrupt_leaves_at_once(tmp_path: Path, settings: dict[str, str]) -> None:
    with Command(tmp_path, "run", "d", "-a", "stubborn", **settings) as command:
        command.wait_for("stubborn: running")
        command.interrupt(signal.SIGTERM)
        command.wait_for("Ctrl-C again leaves at once")
        command.interrupt()
        assert command.finish().status == 130


# --- on a terminal ---------------------------------------------------------------------------


def on_terminal(
    folder: Path, settings: dict[str, str], *arguments: str, **variables: str
) -> tuple[int, str]:
    """Run a command on a terminal of its own; its status, and all it wrote there."""
    ours, theirs = pty.openpty()
    variables = {**environment(**settings), "TERM": "xterm-256color", **variables}
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=folder, env=variables, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = b""
    with contextlib.suppress(OSError):  # how Linux says that nobody writes there any more
        while piece := os.read(ours, 65536):
            written += piece
    os.close(ours)
    return process.wait(), written.decode()


def test_a_table_lives_on_a_terminal(tmp_path: Path, settings: dict[str, str]) -> None:
    parts = script(
        texts("scripted-1", "Reading", "Thinking", delay=0.15), texts("scripted-2", outcome="fail")
    )
    options = ["-a", "scripted-1,scripted-2,writer", "--mode", "parallel", "--input-json", parts]
    status, written = on_terminal(tmp_path, settings, "run", "A title", *options)
    assert status == 0
    for words in ("A title", "Reading", "Thinking", "✓", "✗", "scripted failure", "Done in "):
        assert words in written
    assert "\x1b[1A" in written, "drawn over itself"
    assert "60 more lines" in written
    assert "line 99" not in written
    assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l"), "the cursor is back"


def test_no_color_means_no_colour(tmp_path: Path, settings: dict[str, str]) -> None:
    parts = script(texts("scripted-1", outcome="fail"))
    options = ["-a", "scripted-1", "--input-json", parts]
    status, written = on_terminal(tmp_path, settings, "run", "d", *options, NO_COLOR="1")
    assert status == 1
    assert "\x1b[3" not in written
    assert "✗" in written
