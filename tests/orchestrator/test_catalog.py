"""agents.toml: what it declares is registered in order; what is wrong is said with its place."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.agents import AgentOptions, AgentRegistry, Registration
from orchestrator.catalog import load_catalog
from orchestrator.errors import AgentError, CatalogError, InvalidRequest
from orchestrator.events import Event
from orchestrator.kinds.threads import DaemonThreads
from orchestrator.orchestrator import Orchestrator
from orchestrator.tasks import TaskRequest, TaskStatus

Load = Callable[[str], AgentRegistry]

MODULE = '''
import asyncio
from orchestrator.kinds.background import BackgroundTask

class Greeter:
    """Says hello."""
    def __init__(self, greeting="Hello"):
        self.greeting = greeting
    async def run(self, context):
        return self.greeting + " " + context.task.title

async def shout(context):
    return context.task.title.upper()

class Counter(BackgroundTask):
    """Counts."""
    name = "The counter"
    def __init__(self, start=0):
        self.start = start
    def execute(self, progress_handle, to):
        from team_1.later import STEP
        progress_handle.write(" ".join(str(n) for n in range(self.start, to, STEP)))
        return {"last": to}

not_an_agent = 7
'''


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Loads the text of an agents.toml beside the package ``team_1``."""
    package = tmp_path / "team_1"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "agents.py").write_text(MODULE)
    (package / "later.py").write_text("STEP = 1\n")
    (package / "lacking.py").write_text("import package_that_is_not_there.inner\n")
    (package / "broken.py").write_text("def f(:\n")
    (package / "raising.py").write_text("raise OSError('no such device')\n")
    (tmp_path / "email.py").write_text("")

    def load(text: str) -> AgentRegistry:
        path = tmp_path / "agents.toml"
        path.write_text(text, encoding="utf-8")
        registry = AgentRegistry()
        load_catalog(path, registry, threads=DaemonThreads(2))
        return registry

    before = list(sys.path)
    yield load
    sys.path[:] = before
    for name in [name for name in sys.modules if name.partition(".")[0] == "team_1"]:
        del sys.modules[name]


def refused(load: Load, text: str) -> list[str]:
    """The lines of the refusal, without the path that each begins with."""
    with pytest.raises(CatalogError) as caught:
        load(text)
    lines = str(caught.value).splitlines()
    assert all("/agents.toml: " in line for line in lines)
    return [line.partition("agents.toml: ")[2] for line in lines]


async def outcome(registry: AgentRegistry, role: str, **inputs: Any) -> tuple[str, Any]:
    """Text and output of one agent, run by an orchestrator."""
    events: list[Event] = []
    result = await Orchestrator(registry).execute_task(
        TaskRequest(description="hi there", selected_agents=[role], inputs=inputs), events.append
    )
    assert result.status is TaskStatus.COMPLETED, result.failed
    return result.outputs[role].text, result.outputs[role].output


FULL = """
[roots]
here = "."
home = "~"

[agents.zeta]
kind = "command"
name = "Zeta"
description = "Echoes."
command = ["echo", "{inputs.path}"]
defaults = { path = "here/team_1" }
paths = ["path"]
timeout = 60
max_attempts = 3
retry_delay = 0.5

[agents.greet]
kind = "python"
import = "team_1.agents:Greeter"
options = { greeting = "Moin" }

[agents.shout]
kind = "python"
import = "team_1.agents:shout"
description = "Loud."

[agents.count]
kind = "background"
class = "team_1.agents:Counter"
options = { start = 2 }
"""


async def test_a_team_is_registered_in_its_order_and_works(load: Load, tmp_path: Path) -> None:
    registry = load(FULL)
    shown = [(r.agent.role, r.kind, r.agent.name, r.agent.description) for r in registry]
    assert shown == [
        ("zeta", "command", "Zeta", "Echoes."),
        ("greet", "python", "greet", "Says hello."),
        ("shout", "python", "shout", "Loud."),
        ("count", "background", "The counter", "Counts."),
    ]
    assert all(registration.unavailable is None for registration in registry)
    assert registry["zeta"].options == AgentOptions(
        timeout_seconds=60, max_attempts=3, retry_delay_seconds=0.5
    )
    assert registry["greet"].options == AgentOptions()
    assert await outcome(registry, "zeta") == (f"{tmp_path}/team_1\n", None)
    assert await outcome(registry, "greet") == ("Moin hi there", None)
    assert await outcome(registry, "shout") == ("HI THERE", None)
    assert await outcome(registry, "count", to=5) == ("2 3 4", {"last": 5})


async def test_a_program_of_the_folder_is_found_beside_the_file(load: Load, tmp_path: Path) -> None:
    tool = tmp_path / "tool.sh"
    tool.write_text("#!/bin/sh\necho $GREETING $1 $2\n")
    tool.chmod(0o755)
    registry = load(
        '[agents.tool]\nkind = "command"\ncommand = ["./tool.sh", "a", "{folder}/x"]\n'
        'env = ["HOME_OF_NOBODY", { GREETING = "hi {folder}" }]'
    )
    assert registry["tool"].unavailable is None
    assert await outcome(registry, "tool") == (f"hi {tmp_path} a {tmp_path}/x\n", None)


def test_an_empty_file_declares_nothing(load: Load) -> None:
    assert len(load("")) == 0
    assert len(load("\ufeff[roots]\r\n[agents]\r\n")) == 0


def test_modules_of_the_folder_shadow_nothing(load: Load, tmp_path: Path) -> None:
    load(FULL)
    assert sys.path[-1] == str(tmp_path)
    assert sys.path.count(str(tmp_path)) == 1
    (line,) = refused(load, '[agents.a]\nkind = "python"\nimport = "email:run"')
    assert line.startswith("[agents.a] import: the module 'email'")
    assert line.endswith("rename it")


# --- unavailable -----------------------------------------------------------------------------


def unavailable(registration: Registration) -> str:
    assert registration.unavailable is not None
    return registration.unavailable


def test_an_agent_without_its_program_is_listed_as_unavailable(load: Load) -> None:
    registry = load(
        '[agents.a]\nkind = "command"\ncommand = ["no-such-program", "x"]\n'
        '[agents.b]\nkind = "command"\ncommand = ["./none.sh"]\ninstall = "make none.sh"\n'
        '[agents.c]\nkind = "command"\ncommand = ["{python}", "-m", "no_such_module.x"]\n'
        'install = "pip install no-such"\n'
        '[agents.d]\nkind = "command"\ncommand = ["sh"]\nenv = { PATH = "/nowhere" }\n'
        '[agents.e]\nkind = "command"\ncommand = ["{python}", "-m", "json.tool"]\n'
    )
    assert unavailable(registry["a"]) == (
        "the program `no-such-program` is not on the PATH; install it"
    )
    assert unavailable(registry["b"]).endswith("install it with: make none.sh")
    assert unavailable(registry["c"]) == (
        "the Python package `no_such_module` is not installed; install it with: pip install no-such"
    )
    assert "`sh`" in unavailable(registry["d"])
    assert registry["e"].unavailable is None
    with pytest.raises(InvalidRequest, match="no-such-program"):
        registry.check(["a"])


async def test_an_agent_without_a_package_is_listed_as_unavailable(load: Load) -> None:
    registry = load(
        '[agents.a]\nkind = "python"\nimport = "team_1.lacking:run"\nname = "A"\n'
        'install = "pip install it"\n'
        '[agents.b]\nkind = "background"\nclass = "team_1.lacking:Run"\n'
    )
    assert unavailable(registry["a"]) == (
        "the Python package `package_that_is_not_there` is not installed; "
        "install it with: pip install it"
    )
    assert (registry["a"].agent.name, registry["a"].kind) == ("A", "python")
    assert registry["b"].unavailable is not None
    with pytest.raises(AgentError, match="package_that_is_not_there"):
        await registry["b"].agent.run(None)  # type: ignore[arg-type]


# --- refused ---------------------------------------------------------------------------------

LINT = '[agents.lint]\nkind = "command"\ncommand = ["ruff"]\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("timeout = 0", "timeout: must be greater than 0"),
        ("timeout = inf", "timeout: must be a finite number"),
        ('timeout = "60"', "timeout: must be a valid number"),
        ("max_attempts = 0", "max_attempts: must be greater than or equal to 1"),
        ("max_attempts = true", "max_attempts: must be a valid integer"),
        ("retry_delay = 61", "retry_delay: must be less than or equal to 60"),
        ("time_out = 1", "time_out: is no key of this kind"),
        ('import = "a:b"', "import: is no key of this kind"),
        ('stdout = "xml"', "stdout: must be 'text', 'json' or 'lines'"),
        ("ok_exit_codes = [0, 256]", "ok_exit_codes[1]: must be less than or equal to 255"),
        ('artifacts = ["/a"]', "artifacts: '/a' does not lie in the work folder"),
        ('artifacts = ["a/../../b"]', "artifacts: 'a/../../b' does not lie in the work folder"),
        ('env = ["POSTSTREAM_X"]', "env: POSTSTREAM_X is the server's own and never passed on"),
        ('env = {poststream_x="1"}', "env: poststream_x is the server's own and never passed on"),
        ('env = [{PS_ATTEMPT="1"}]', "env: PS_ATTEMPT is the server's own and never passed on"),
        ('env = ["A=B"]', "env: 'A=B' is no name of an environment variable"),
        ("env = [7]", "env: has to be a list of names, a table of texts, or a list of both"),
    ],
)
def test_a_wrong_key_is_named_with_its_table(load: Load, text: str, said: str) -> None:
    assert refused(load, LINT + text) == [f"[agents.lint] {said}"]


def table(kind: str, rest: str = "") -> str:
    return f'[agents.a]\nkind = "{kind}"\n{rest}'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (table("shell"), "kind: unknown; the kinds are command, python, background"),
        ("[agents.a]", "kind: is missing; the kinds are command, python, background"),
        (table("command"), "command: is missing"),
        (table("command", 'command = "ruff"'), "command: must be a valid list"),
        (table("command", "command = []"), "command: "),
        (table("command", 'command = ["a", 7]'), "command[1]: must be a valid string"),
        (table("command", 'command = ["{inputs.x}"]'), "command: the program itself cannot come"),
        (table("command", 'command = ["x", "{inptus.x}"]'), "command: unknown placeholder {inptus"),
        (table("python"), "import: is missing"),
        (table("python", 'import = "x"'), "import: 'x' is no import path; it is written"),
        (table("python", 'import = "no_team:x"'), "import: there is no module 'no_team' in"),
        (table("python", 'import = "team_1.none:x"'), "import: there is no module 'team_1.none'"),
        (
            table("python", 'import = "team_1.agents:Gone"'),
            "import: the module 'team_1.agents' has",
        ),
        (
            table("python", 'import = "team_1.broken:x"'),
            "import: 'team_1.broken' cannot be imported: SyntaxError:",
        ),
        (
            table("python", 'import = "team_1.raising:x"'),
            "import: 'team_1.raising' cannot be imported: OSError: no such device",
        ),
        (
            table("python", 'import = "team_1.agents:Greeter"\noptions = { greting = 1 }'),
            "import: the options do not fit Greeter: ",
        ),
        (
            table("background", 'class = "team_1.agents:Counter"\noptions = { stop = 1 }'),
            "class: the options do not fit Counter: ",
        ),
        (
            table("background", 'class = "team_1.agents:Greeter"'),
            "class: it has to be a class derived from BackgroundTask",
        ),
        ("[agents]\na = 7", "must be a valid dictionary"),
    ],
)
def test_what_cannot_become_an_agent_is_said(load: Load, text: str, said: str) -> None:
    (line,) = refused(load, text)
    assert line.startswith(f"[agents.a] {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[agents."a b"]', "[agents.a b] a role has at most 64 letters, digits, dots, dashes"),
        ("agents = 7", "agents: has to be a table"),
        ("[agent.lint]", "[agent]: has no meaning here"),
        ("[roots]\nrepos = 7", '[roots] repos: has to be written as name = "folder"'),
        ('[roots]\nrepos = "~no-such-user"', "[roots] repos: there is no such user's home folder"),
        ('[roots]\nrepos = "none"', "[roots] repos: there is no folder"),
        ("[agents.a]\nkind = x", "is no valid TOML: Invalid value (at line 2, column 8)"),
        ("[a]\n[a]", "is no valid TOML: Cannot declare"),
    ],
)
def test_what_is_wrong_with_the_file_is_said(load: Load, text: str, said: str) -> None:
    (line,) = refused(load, text)
    assert line.startswith(said)


def test_everything_is_said_at_once_and_nothing_registered(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(f'{LINT}[agents.b]\nkind = "x"\n[agents.c]\nkind = "command"\n[more]\n')
    registry = AgentRegistry()
    with pytest.raises(CatalogError) as caught:
        load_catalog(path, registry, threads=DaemonThreads(1))
    assert len(str(caught.value).splitlines()) == 3
    assert len(registry) == 0


def test_a_role_is_given_once(tmp_path: Path) -> None:
    path = tmp_path / "agents.toml"
    path.write_text(LINT)
    registry = AgentRegistry()
    load_catalog(path, registry, threads=DaemonThreads(1))
    with pytest.raises(CatalogError, match=r"\[agents.lint\] there is already an agent"):
        load_catalog(path, registry, threads=DaemonThreads(1))


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(CatalogError, match="cannot be read"):
            load_catalog(path, AgentRegistry(), threads=DaemonThreads(1))
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    with pytest.raises(CatalogError, match="is not UTF-8 text"):
        load_catalog(binary, AgentRegistry(), threads=DaemonThreads(1))
