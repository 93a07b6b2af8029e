"""Every example runs as a process of its own, says what it promises, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.server import PREFIX, ROOT

FOLDER = ROOT / "examples"
SECONDS = 30  # each promises ten; a busy machine gets more

EXPECTED = {
    "01_in_process.py": [
        r"A morning at the lake: counter, diarist",
        r"  Counter begins: Counts the birds of each kind\.",
        r"     20%  Saw a heron",
        r"    100%  Saw a coot",
        r"  counter delivered after \d+ ms",
        r"  Diarist begins: .+",
        r"    wrote '3 coot, '",
        r"  diarist delivered after \d+ ms",
        r"2 outputs after \d+ ms",
        r"completed: 3 coot, 1 grebe, 1 heron, and a good morning\.",
    ],
    "02_custom_agent.py": [
        r" +reporter  begins attempt 1",
        r" +reporter  The line went dead\. It will be tried again\.",
        r" +reporter  begins attempt 2",
        r" +reporter  Attempt 2: 2 answers are safe",
        r" +reporter  Calling Cleo",
        r"The paper is completed, without the work of: photographer",
        r"reporter saved story\.txt, 54 bytes:",
        r"Ada heard a bang\.",
        r"Bob heard a bang\.",
        r"Cleo heard a bang\.",
        r"Rain in Ghent\.",
        r"6 pages",
    ],
    "03_mounted.py": [
        r"The shop answers 202: \{'order': '7', 'thanks': True\}",
        r"  1  task_created *",
        r"  2  agent_start *",
        r"  3  agent_progress  Fetched a box for order 7",
        r"  \d+  task_complete *",
        r"The mounted API knows one task: Pack an order, completed",
        r"The shop is closed\.",
    ],
    "04_curl.sh": [
        r"# The server is http://127\.0\.0\.1:\d+",
        r'"agentRole":"scripted-1"',
        r"# The answer of the POST is the stream",
        r"retry: 3000",
        r"id: 1",
        r"event: task_created",
        r'data: \{"type":"task_created",.+',
        r"event: complete",
        r"# The same POST again .+",
        r"\d+ events, the same ones",
        r"idempotency-replayed: true",
        r"# Everything after event 8",
        r"id: 9",
        r'\{"taskId":".+","streamUrl":"/api/tasks/.+/stream","status":"\w+"\}',
        r'\{"taskId":".+","status":"cancell(ing|ed)"\}',
        r"event: error",
        r'data: \{"taskId":".+","error":"The task was cancelled\."\}',
        r'"title":"Wait for Godot",.+"status":"cancelled"',
        r'"title":"Read, then write",.+"status":"completed"',
        r"The server is gone; its log has \d+ lines\.",
    ],
    "05_resume_after_disconnect.py": [
        r"1\. .+ cut after event 5\.",
        r"2\. .+ until event 15\.",
        r"3\. .+ read until event 25\.",
        r"   Seen: 1 to 25 of \d+, each once and as the log has it\.",
        r"4\. .+ the server is killed\.",
        r"   The stream broke off after event \d+, without an end\.",
        r"5\. .+",
        r" +\d+  agent_error  interrupted",
        r" +\d+  task_state  recovered",
        r" +\d+  agent_start  scripted-2",
        r" +\d+  task_complete *",
        r"   Seen: 1 to (\d+) of \1, each once and as the log has it\.",
    ],
}
"""Lines that come in this order, others in between."""


class Example(NamedTuple):
    """An example that has ended."""

    status: int
    out: str
    err: str
    group: int
    """Its process group: it and everything it started."""
    temporary: Path
    """Where its temporary files went."""


def run(name: str, folder: Path) -> Example:
    """Run an example away from the checkout, with nothing of this machine's settings."""
    temporary = folder / "temporary"
    temporary.mkdir()
    environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}",
        "PYTHONWARNINGS": "error",
        "TMPDIR": str(temporary),
    }
    command = [sys.executable] if name.endswith(".py") else ["bash"]
    with subprocess.Popen(
        [*command, str(FOLDER / name)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            out, err = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            pytest.fail(f"{name} does not end")
    return Example(process.returncode, out, err, process.pid, temporary)


def runs_on(group: int) -> bool:
    """Whether anything of a process group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def first_missing(expected: list[str], text: str) -> str | None:
    """The first of the expected lines that does not follow those before it."""
    lines = iter(text.splitlines())
    for pattern in expected:
        if not any(re.fullmatch(pattern, line) for line in lines):
            return pattern
    return None


def test_every_example_is_run_here() -> None:
    assert sorted(EXPECTED) == sorted(path.name for path in FOLDER.glob("[0-9]*"))


@pytest.mark.e2e
@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_does_what_it_says(name: str, tmp_path: Path) -> None:
    if name.endswith(".sh") and not (shutil.which("bash") and shutil.which("curl")):
        pytest.skip("it needs bash and curl")

    example = run(name, tmp_path)

    assert example.status == 0, example.out + example.err
    assert example.err == ""
    assert first_missing(EXPECTED[name], example.out) is None, example.out
    assert not runs_on(example.group)
    assert [*example.temporary.iterdir()] == []
    assert [*tmp_path.iterdir()] == [example.temporary]


@pytest.mark.parametrize("name", EXPECTED)
def test_an_example_begins_with_its_story(name: str) -> None:
    """What it shows, how to run it, what to expect; and it does not wait by sleeping."""
    text = (FOLDER / name).read_text()
    head = text.split('"""')[1] if name.endswith(".py") else text.partition("\nset -e")[0]
    assert re.findall(r"^(?:# )?(Shows|Run|Expect): ", head, re.MULTILINE) == [
        "Shows", "Run", "Expect",
    ]  # fmt: skip
    assert f"examples/{name}" in head
    for line in text.splitlines():
        assert "sleep" not in line or "# it pretends to " in line, line


def test_the_table_of_examples_is_complete() -> None:
    readme = (FOLDER / "README.md").read_text()
    rows = re.findall(r"^\| \[(.+?)\]\((.+?)\) \| .+ \| `(.+)` \|$", readme, re.MULTILINE)
    numbered = [(name, command) for name, _, command in rows if name[0].isdigit()]
    assert [name for name, _ in numbered] == sorted(EXPECTED)
    for name, command in numbered:
        program = ".venv/bin/python" if name.endswith(".py") else "bash"
        assert command == f"{program} examples/{name}"
        text = (FOLDER / name).read_text()
        assert f"{Path(program).name} examples/{name}" in text
    assert all((FOLDER / target).exists() for _, target, _ in rows)
