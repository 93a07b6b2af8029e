"""What README.md says of code, routes, events and commands is so."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import tomllib
import types
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from pydantic import BaseModel

from api.bodies import parse_task_request
from api.cli import COMMANDS
from api.cli.terminal import Status
from api.routes import ROUTES
from api.routes.page import PATHS as PAGES
from api.routes.tasks import _PARAMETERS as LIST_PARAMETERS
from orchestrator.events import EVENT_TYPES, AgentInfo, Event
from orchestrator.tasks import Budget, TaskRequest
from tests.server import PREFIX, ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PROSE = re.sub(r"^```.*?^```$", "", README, flags=re.MULTILINE | re.DOTALL)
COMMON = {"type", "taskId", "seq", "timestamp"}
TEAM = ROOT / "examples" / "code_review" / "agents.toml"


# -- reading it ----------------------------------------------------------------------------------


def section(heading: str) -> str:
    """The text under a heading, up to the next one of its level or above."""
    found = re.search(rf"^(#+) {re.escape(heading)}$", README, re.MULTILINE)
    assert found is not None, f"README.md has no section {heading!r}"
    level = len(found[1])
    fences = re.sub(r"^```.*?^```", lambda block: " " * len(block[0]), README, flags=re.M | re.S)
    following = re.compile(rf"^#{{1,{level}}} ", re.MULTILINE).search(fences, found.end())
    return README[found.end() : following.start() if following else None]


def blocks(language: str) -> list[str]:
    """The code blocks of a language; an empty one for those that name none."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    """The cells of a section's table, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    return [[cell.strip() for cell in row] for row in cells[2:]]


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


def environment(**values: str) -> dict[str, str]:
    """This one without settings, and with the commands of this installation."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith(PREFIX)}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    return {**kept, "PATH": path, **values}


def process(folder: Path, *arguments: str, **values: str) -> subprocess.CompletedProcess[str]:
    """Run Python in a process of its own, away from the checkout."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder, env=environment(**values), capture_output=True, text=True, check=False,
    )  # fmt: skip


# -- code ----------------------------------------------------------------------------------------


def test_the_python_block_runs_as_it_stands(tmp_path: Path) -> None:
    [block] = blocks("python")
    (tmp_path / "readme.py").write_text(block)
    done = process(tmp_path, "-W", "error", "readme.py")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "task_created",
        "agent_start",
        "agent_progress",
        "agent_progress",
        "agent_complete",
        "task_complete",
        "Hello, world!",
    ]


def test_the_agents_file_loads(tmp_path: Path) -> None:
    [block] = blocks("toml")
    (tmp_path / "src").mkdir()  # the root it names
    (tmp_path / "agents.toml").write_text(block)
    (tmp_path / "my_agents.py").write_text(
        "class Summary:\n    async def run(self, context):\n        return 'all is well'\n"
    )
    done = process(
        tmp_path, "-m", "api.cli", "agents", "--json",
        HOME=str(tmp_path), POSTSTREAM_AGENTS_FILE="agents.toml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = {agent["agentRole"]: agent for agent in json.loads(done.stdout)["agents"]}
    declared = tomllib.loads(block)["agents"]
    assert listed.keys() == declared.keys()
    for role, table in declared.items():
        assert listed[role]["available"], listed[role]
        assert listed[role]["kind"] == table["kind"]
        assert listed[role]["agentName"] == table["name"]
        assert listed[role]["agentDescription"] == table["description"]


# -- commands ------------------------------------------------------------------------------------


@functools.cache
def options(command: str) -> frozenset[str]:
    """The options a command has, by its own help."""
    with tempfile.TemporaryDirectory() as folder:
        done = process(
            Path(folder), "-m", "api.cli", *command.split(), "--help", COLUMNS="200", NO_COLOR="1"
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    listed = re.findall(r"^\W*?(--?[a-z].*?)  ", done.stdout, re.MULTILINE)
    return frozenset(name for line in listed for name in re.findall(r"--?[a-z][a-z-]*", line))


def shell_lines() -> list[str]:
    """The lines of all shell blocks, continued ones joined, comments removed."""
    text = "\n".join(block.replace("\\\n", " ") for block in [*blocks("bash"), *blocks("")])
    return [line for line in text.splitlines() if re.match(r"(make|export|curl|poststream) ", line)]


def words(line: str) -> list[list[str]]:
    """The commands of a line, also those within $(…), as words."""
    inner = re.findall(r"\$\((.+?)\)", line)
    return [shlex.split(part, comments=True) for part in [*inner, line]]


def calls() -> list[list[str]]:
    """Every call of `poststream` that README shows, in blocks and in the text."""
    shown = [call for line in shell_lines() for call in words(line)]
    shown += [shlex.split(text) for text in code(PROSE) if text.startswith("poststream ")]
    return [call[1:] for call in shown if call[0] == "poststream"]


def curls() -> list[list[str]]:
    """Every call of curl in a block."""
    return [call[1:] for line in shell_lines() for call in words(line) if call[0] == "curl"]


def after(call: list[str], option: str) -> str:
    """The value an option has in a call."""
    return call[call.index(option) + 1]


def test_the_readme_shows_commands_at_all() -> None:
    assert {call[0] for call in calls()} >= {"token", "run", "agents", "settings", "serve"}
    assert len(curls()) >= 2


@pytest.mark.parametrize("call", calls(), ids=" ".join)
def test_a_shown_command_and_its_options_exist(call: list[str]) -> None:
    two = " ".join(call[:2])
    name = two if two in COMMANDS else call[0]
    assert name in COMMANDS
    given = {word.partition("=")[0] for word in call[1:] if word.startswith("-")}
    assert given <= options(name)


def test_the_agents_of_shown_tasks_belong_to_the_team() -> None:
    team = tomllib.loads(TEAM.read_text())["agents"].keys()
    for call in calls():
        if "--agents" in call:
            assert set(after(call, "--agents").split(",")) <= team
    for call in curls():
        if "-d" in call:
            request = parse_task_request(json.loads(after(call, "-d")))
            assert set(request.selected_agents) <= team


def test_shown_requests_go_to_routes_that_exist() -> None:
    for call in curls():
        [url] = [word for word in call if "localhost" in word]
        method = "POST" if "-d" in call else "GET"
        path = url.partition("localhost:8000")[2]
        paths = [re.sub(r"\{\w+\}", "[^/]+", path) for path in ROUTES if method in ROUTES[path]]
        assert any(re.fullmatch(pattern, path) for pattern in paths), f"{method} {path}"


def test_make_has_the_targets_that_are_named() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|[A-Z]+=\d+ )make ([a-z]+)", README, re.MULTILINE))
    assert {"run", "test"} <= named <= targets


def test_the_table_of_commands_is_complete() -> None:
    documented = [row[0] for row in rows("Commands")]
    assert sorted(documented) == sorted(f"`poststream {name}`" for name in COMMANDS)


def test_the_commands_without_json_are_those_that_are_named() -> None:
    [named] = re.findall(r"`--json` everywhere(.*?);", section("Commands"))
    assert code(named) == [name for name in COMMANDS if "--json" not in options(name)]


def test_the_exit_codes_are_those_of_the_commands() -> None:
    [sentence] = re.findall(r"Exit codes: (.+?)\.", section("Commands"), re.DOTALL)
    assert [int(number) for number in re.findall(r"\d+", sentence)] == [s.value for s in Status]


# -- routes --------------------------------------------------------------------------------------


def documented_routes() -> dict[tuple[str, str], str | None]:
    """Method and path → scope, aliases ("Also `POST …`") included."""
    found: dict[tuple[str, str], str | None] = {}
    for route, scope, words in rows("Routes"):
        also = " ".join(re.findall(r"Also (`[^`]+`)", words))
        for text in code(f"{route} {also}"):
            method, path = text.split(" ")
            found[method, path] = None if scope == "none" else scope.strip("`")
    return found


def test_the_table_of_routes_is_complete_with_its_scopes() -> None:
    pages = set(PAGES)
    assert documented_routes() == {
        (method, path): rule.scope
        for path, rules in ROUTES.items()
        for method, rule in rules.items()
        if path not in pages
    }


def test_the_parameters_of_the_list_are_those_it_takes() -> None:
    [row] = [row for row in rows("Routes") if row[0] == "`GET /api/tasks`"]
    names = set(re.findall(r"[?&]([A-Za-z.]+)=", row[2]))
    assert names == LIST_PARAMETERS | {"metadata.KEY"}


def test_every_field_of_a_request_is_named() -> None:
    [text] = re.findall(r"^Body of the three submit routes: (.+?)\n\n", README, re.M | re.S)
    outside = re.sub(r"\((?:[^()]|\([^()]*\))*\)", "", text)
    assert set(code(outside)) == aliases(TaskRequest)
    [budget] = re.findall(r"`budget` \(\{(.+?)\}\)", text)
    assert set(budget.split(", ")) == aliases(Budget)


# -- events --------------------------------------------------------------------------------------


def aliases(model: type[BaseModel]) -> set[str]:
    """The names of a model's fields on the wire."""
    return {field.alias or name for name, field in model.model_fields.items()}


MODELS: dict[str, type[BaseModel]] = {
    model.model_fields["type"].default: model for model in get_args(get_args(Event)[0])
}


def is_optional(annotation: Any) -> bool:
    """Whether a field may be absent: None is one of its values, or anything is."""
    if get_origin(annotation) in (Union, types.UnionType):
        return type(None) in get_args(annotation)
    return annotation is Any


def documented_fields(text: str) -> dict[str, bool]:
    """The names a cell of the table lists, and whether each is optional."""
    text = text.partition(" \N{EN DASH} ")[0]
    text = re.sub(r"\([^)]*\)|\[[^\]]*\]", "", text)  # units, kinds, what lies within
    text = re.sub(r"`[^`]+`(?:(?:, | or )`[^`]+`)*", "", text)  # the values a field may have
    always, _, optional = text.partition(" and at least one of ")
    fields = {}
    for part in always.split(","):
        name = part.strip()
        fields[name.rstrip("?")] = name.endswith("?")
    return fields | {name.strip(): True for name in optional.split(",") if optional}


def test_every_type_of_event_stands_in_the_table() -> None:
    assert [row[0] for row in rows("Events")] == [f"`{type}`" for type in EVENT_TYPES]
    assert MODELS.keys() == set(EVENT_TYPES)


@pytest.mark.parametrize("type", EVENT_TYPES)
def test_the_fields_of_an_event_are_those_of_its_model(type: str) -> None:
    [cell] = [row[1] for row in rows("Events") if row[0] == f"`{type}`"]
    fields = MODELS[type].model_fields
    assert documented_fields(cell) == {
        field.alias or name: is_optional(field.annotation)
        for name, field in fields.items()
        if (field.alias or name) not in COMMON
    }
    status = fields.get("status")
    if status is not None:
        [values] = re.findall(r"status ((?:`[^`]+`(?:, | or )?)+)", cell)
        assert get_origin(status.annotation) is Literal
        assert tuple(code(values)) == get_args(status.annotation)


def test_the_fields_of_an_agent_in_an_event_are_those_of_its_model() -> None:
    [cell] = [row[1] for row in rows("Events") if row[0] == "`task_created`"]
    [within] = re.findall(r"agents\[\{(.+?)\}\]", cell)
    assert set(within.split(", ")) == aliases(AgentInfo)


def test_every_event_has_the_common_fields() -> None:
    [sentence] = re.findall(r"one line of JSON with (.+?) and$", section("Events"), re.M | re.S)
    assert set(code(sentence)) == COMMON
    assert all(aliases(model) >= COMMON for model in MODELS.values())


def test_the_codes_of_a_failed_task_are_those_in_the_source() -> None:
    [sentence] = re.findall(r"^Codes of `task_error`: (.+?)\.$", README, re.MULTILINE | re.DOTALL)
    source = "".join(path.read_text() for path in (ROOT / "orchestrator").rglob("*.py"))
    for word in code(sentence):
        assert re.search(rf"""["']{word}["']""", source), f"nothing ends a task with {word}"


# -- links ---------------------------------------------------------------------------------------


def test_every_link_leads_somewhere() -> None:
    for document in [ROOT / "README.md", *ROOT.glob("examples/**/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert "://" in target or (document.parent / target).exists(), f"{document}: {target}"
