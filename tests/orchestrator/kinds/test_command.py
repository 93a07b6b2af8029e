"""Command agents: what a program is given, and what is made of what it says."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentOutput, AgentResult
from orchestrator.errors import AgentError, OutputLimitExceeded
from orchestrator.kinds.arguments import Arguments
from orchestrator.kinds.command import Command, CommandAgent
from orchestrator.processes import MARKER, group_is_alive
from orchestrator.progress import Limits
from tests.orchestrator.kinds.support import Trial, eventually, names_in


def agent(*arguments: str, **options: Any) -> CommandAgent:
    command = Command(arguments=Arguments(arguments), **options)
    return CommandAgent("tool", "Tool", "A tool.", command=command)


def shell(script: str, **options: Any) -> CommandAgent:
    return agent("sh", "-c", script, **options)


def python(script: str, **options: Any) -> CommandAgent:
    return agent("{python}", "-c", script, **options)


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where work folders are made."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


async def failure(trial: Trial) -> AgentError:
    with pytest.raises(AgentError) as caught:
        await trial.run()
    return caught.value


# --- what it is given ------------------------------------------------------------------------


async def test_placeholders_are_filled_and_no_shell_reads_them() -> None:
    show = "import json, sys; print(json.dumps(sys.argv[1:]))"
    trial = Trial(
        agent(
            "{python}", "-c", show, "in={inputs.path}", "{inputs.deep.er}", "{task.title}",
            "{task.description}", "{output.first.role.key}", "{{inputs.path}}", "{print $1}",
            stdout="json",
        ),
        {"path": "$(id) `id` *", "deep": {"er": 7}},
        outputs={"first.role": AgentOutput(output={"key": ["a", 1]})},
        description="two\nlines",
    )  # fmt: skip
    result = await trial.run()
    assert result == AgentResult(
        output=["in=$(id) `id` *", "7", "A title", "two\nlines", '["a",1]', "{inputs.path}",
                "{print $1}"]
    )  # fmt: skip


@pytest.mark.parametrize("value", ["-rf", "--config=/etc/x", "-", -1])
async def test_a_value_never_becomes_an_option(value: object) -> None:
    error = await failure(Trial(agent("echo", "{inputs.path}"), {"path": value}))
    assert error.code == "invalid_input"
    assert "inputs.path" in str(error)


async def test_two_values_do_not_make_an_option_either() -> None:
    trial = Trial(agent("echo", "{inputs.a}{inputs.b}"), {"a": "", "b": "-x"})
    assert (await failure(trial)).code == "invalid_input"


async def test_a_value_behind_an_option_of_the_table_is_fine() -> None:
    trial = Trial(agent("echo", "--depth={inputs.depth}"), {"depth": -1})
    await trial.run()
    assert trial.text == "--depth=-1\n"


@pytest.mark.parametrize("inputs", [{}, {"path": None}, {"path": "a\0b"}, {"path": "\ud800"}])
async def test_a_value_that_is_missing_or_no_argument_is_refused(inputs: dict[str, Any]) -> None:
    error = await failure(Trial(agent("echo", "{inputs.path}"), inputs))
    assert error.code == "invalid_input"
    assert "inputs.path" in str(error)


async def test_arguments_longer_than_the_system_allows_are_refused_in_words() -> None:
    error = await failure(Trial(agent("echo", "{inputs.a}"), {"a": "x" * 10_000_000}))
    assert error.code == "invalid_input"
    assert "longer than this system allows" in str(error)


async def test_stdin_holds_task_inputs_and_outputs() -> None:
    trial = Trial(
        agent("cat", stdin="json", stdout="json"),
        {"n": [1, 2], "text": "ü" * 300_000},  # far more than a pipe takes at once
        outputs={"first": AgentOutput(text="t", output={"k": 1})},
    )
    result = await trial.run()
    assert result is not None
    assert result.output["inputs"] == trial.context.inputs
    assert result.output["outputs"] == {"first": {"text": "t", "output": {"k": 1}}}
    assert result.output["task"]["description"] == "the task"
    assert result.output["task"]["taskId"] == trial.context.task.task_id


async def test_stdin_is_empty_unless_it_is_asked_for() -> None:
    trial = Trial(agent("cat"), {"n": 1})
    await trial.run()
    assert trial.text == ""


async def test_a_program_that_does_not_read_its_stdin_does_not_hang() -> None:
    assert await Trial(agent("true", stdin="json"), {"n": "x" * 3_000_000}).run() == AgentResult()


async def test_the_environment_is_an_allow_list(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSTREAM_JWT_SECRET", "secret")
    monkeypatch.setenv("SOME_TOKEN", "secret")
    monkeypatch.setenv("PROXY", "p")
    script = "import json, os; print(json.dumps(dict(os.environ)))"
    trial = Trial(python(script, stdout="json", pass_on=["PROXY"], fixed={"LANG": "C", "X": "1"}))
    result = await trial.run()
    assert result is not None
    environment = result.output
    assert environment["PROXY"] == "p"
    assert environment["X"] == "1"
    assert environment[MARKER] == f"{trial.context.task.task_id}/tool/1"
    extra = {"PROXY", "X", MARKER, "LC_CTYPE"}  # the last is set by python itself
    assert set(environment) <= {"PATH", "HOME", "LANG", "TMPDIR"} | extra


async def test_every_attempt_has_a_private_folder_that_is_removed(folders: Path) -> None:
    script = "pwd; stat -c %a . ; mkdir -p a/b; echo x > a/b/c; chmod 500 a/b"
    texts = []
    for _ in range(2):
        trial = Trial(shell(script))
        await trial.run()
        texts.append(trial.text)
    (first, mode), (second, _) = (text.split() for text in texts)
    assert Path(first).parent == folders
    assert first != second
    assert mode == "700"
    assert names_in(folders) == []


# --- what comes out --------------------------------------------------------------------------


async def test_text_is_streamed_as_it_comes(tmp_path: Path) -> None:
    """The program goes on only after its first words have arrived."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    trial = Trial(shell(f"printf 'first '; read line < {gate}; printf second"))
    task = trial.start()
    await eventually(lambda: trial.text == "first ")
    await asyncio.to_thread(gate.write_text, "go\n")
    assert await task == AgentResult()
    assert trial.text == "first second"


async def test_a_character_may_come_in_pieces_and_bad_bytes_are_replaced() -> None:
    script = (
        "import sys, time\n"
        "for byte in 'é€😀'.encode() + b' \\xff \\xe2\\x82':\n"
        "    sys.stdout.buffer.write(bytes([byte])); sys.stdout.flush()\n"
        "    time.sleep(0.005)\n"
    )
    trial = Trial(python(script))
    await trial.run()
    assert trial.text == "é€😀 � �"


async def test_json_becomes_the_output_and_is_not_shown() -> None:
    trial = Trial(shell("""echo '{"a": [1, "ü"]}'""", stdout="json"))
    assert await trial.run() == AgentResult(output={"a": [1, "ü"]})
    assert trial.text == ""
    assert trial.events == []


@pytest.mark.parametrize("script", ["echo no", "true", "echo '{\"a\": NaN}'", "printf '\\377'"])
async def test_what_is_no_json_is_said(script: str) -> None:
    error = await failure(Trial(shell(script, stdout="json")))
    assert error.code == "invalid_output"
    assert "`sh` did not write JSON" in str(error)


async def test_lines_become_status_lines() -> None:
    trial = Trial(shell("printf 'one\\n\\n10%%\\r20%%\\r\\nlast'", stdout="lines"))
    assert await trial.run() == AgentResult()
    assert trial.messages == ["one", "10%", "20%", "last"]
    assert trial.text == ""


async def test_a_line_that_never_ends_is_cut() -> None:
    script = "head -c 50000000 /dev/zero | tr '\\0' x; echo; echo end"
    trial = Trial(shell(script, stdout="lines"))
    await trial.run()
    long, end = trial.messages
    assert long == "x" * 16384 + "…"
    assert end == "end"


async def test_too_much_output_ends_the_program() -> None:
    trial = Trial(shell("yes"), limits=Limits(max_agent_output_bytes=1_000_000))
    with pytest.raises(OutputLimitExceeded):
        await trial.run()
    assert not group_is_alive(trial.recorder.groups[0][0])


async def test_too_much_json_ends_the_program() -> None:
    trial = Trial(shell("yes", stdout="json"))
    with pytest.raises(OutputLimitExceeded):
        await trial.run()
    assert not group_is_alive(trial.recorder.groups[0][0])


async def test_a_slow_reader_slows_the_program_and_loses_nothing(folders: Path) -> None:
    """While nobody takes the output, only some of it is read."""
    script = (
        "import os, sys\n"
        "log = open('log', 'w')\n"
        "for number in range(40):\n"
        "    sys.stdout.write(str(number % 10) * 100_000); sys.stdout.flush()\n"
        "    print(number, file=log, flush=True)\n"
    )
    trial = Trial(python(script))
    trial.recorder.room.clear()
    task = trial.start()
    await eventually(lambda: trial.recorder.waiting)
    log = folders / names_in(folders)[0] / "log"
    await steady(lambda: log.read_text())
    assert len(log.read_text().split()) <= 12, "it was not held back"
    trial.recorder.room.set()
    await task
    assert trial.text == "".join(str(n % 10) * 100_000 for n in range(40))


async def steady(value: Callable[[], object], *, seconds: float = 0.3) -> None:
    """Wait until a value has not changed for a while."""
    seen: list[tuple[object, float]] = [(value(), time.monotonic())]

    def unchanged() -> bool:
        if (now := value()) != seen[-1][0]:
            seen.append((now, time.monotonic()))
        return time.monotonic() - seen[-1][1] > seconds

    await eventually(unchanged)


async def test_listed_files_become_artifacts(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    trial = Trial(
        shell(
            f"mkdir out; echo '# R' > out/report.md; ln -s {secret} link.txt; printf 1 > data.zzz",
            artifacts=["out/report.md", "link.txt", "data.zzz", "none.json"],
        )
    )
    await trial.run()
    assert trial.recorder.artifacts == {
        ("tool", "report.md"): b"# R\n",
        ("tool", "data.zzz"): b"1",
    }
    kinds = {e.artifact.name: e.artifact.media_type for e in trial.progress if e.artifact}
    assert kinds == {"report.md": "text/markdown", "data.zzz": "application/octet-stream"}
    assert trial.messages == ["link.txt was not written.", "none.json was not written."]


# --- how it ends -----------------------------------------------------------------------------


async def test_an_exit_status_is_a_failure_that_quotes_stderr() -> None:
    error = await failure(Trial(shell("echo seen; echo 'no such rule' >&2; exit 2")))
    assert str(error) == "`sh` ended with exit status 2: no such rule"
    assert error.code == "command_failed"
    assert not error.retryable


async def test_listed_exit_codes_are_fine() -> None:
    trial = Trial(shell("echo '[]'; exit 1", stdout="json", ok_exit_codes=[0, 1]))
    assert await trial.run() == AgentResult(output=[])


async def test_of_stderr_the_end_is_quoted() -> None:
    error = await failure(Trial(shell("seq 1 500000 >&2; echo the end >&2; exit 1")))
    assert len(str(error)) < 2100
    assert str(error).startswith("`sh` ended with exit status 1: …")
    assert str(error).endswith("\n500000\nthe end")


async def test_a_signal_is_named() -> None:
    error = await failure(Trial(shell("kill -SEGV $$")))
    assert str(error) == "`sh` was ended by SIGSEGV"


async def test_a_missing_program_is_named() -> None:
    error = await failure(Trial(agent("no-such-program")))
    assert error.code == "command_not_found"
    assert "`no-such-program`" in str(error)


async def test_a_program_that_may_not_be_executed_is_named(tmp_path: Path) -> None:
    program = tmp_path / "tool.sh"
    program.write_text("#!/bin/sh\n")
    error = await failure(Trial(agent(str(program))))
    assert error.code == "command_not_found"
    assert "`tool.sh` may not be executed" in str(error)


async def test_a_module_is_called_by_its_name() -> None:
    error = await failure(Trial(agent("{python}", "-m", "json.tool", "/no/such/file")))
    assert str(error).startswith("`json.tool` ended with exit status")


def test_placeholders_are_checked_before_anything_runs() -> None:
    for arguments, word in [
        (["echo", "{input.path}"], "{input.path}"),
        (["echo", "{output.role}"], "{output.role}"),
        (["echo", "{inputs}"], "{inputs}"),
        (["{inputs.program}"], "program"),
        (["echo", "a\0b"], "NUL"),
    ]:
        with pytest.raises(ValueError, match=word.replace("{", "\\{")):
            Arguments(arguments)
    assert Arguments(["{python}", "-m", "ruff"]).program == sys.executable
