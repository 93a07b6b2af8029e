"""agents.toml: which agents there are, and which folders their inputs may name.

    [roots]
    repos = "~/src"                     # relative to this file; `~` is the home folder

    [agents.lint]                       # the role
    kind = "command"
    name = "Lint"
    description = "Runs ruff."
    command = ["ruff", "check", "--output-format", "json", "{inputs.path}"]
    stdout = "json"                     # or "text", "lines"; and stdin = "json" or "none"
    ok_exit_codes = [0, 1]
    env = ["HTTPS_PROXY", { NO_COLOR = "1" }]
    artifacts = ["report.md"]           # files it writes into its work folder
    paths = ["path"]                    # inputs.path has to lie in one of [roots]
    defaults = { path = "repos/mine" }  # inputs a task may leave out
    install = "pip install ruff"        # said when the program is missing
    timeout = 60                        # seconds, of each attempt
    max_attempts = 2
    retry_delay = 5                     # seconds, doubled each time

    [agents.count]
    kind = "background"                 # a BackgroundTask, in a thread
    class = "team.counting:Counter"     # team/counting.py beside this file, or installed
    options = { step = 2 }              # for its constructor

    [agents.greet]
    kind = "python"                     # a class, object or async function, on the event loop
    import = "team.greeting:greet"

What is wrong is said all at once, each with file, table and key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from orchestrator.agents import AgentRegistry
from orchestrator.errors import CatalogError
from orchestrator.kinds.roots import CheckedAgent, Roots
from orchestrator.kinds.tables import KINDS, AgentTable, Built, Place
from orchestrator.kinds.threads import DaemonThreads

_TABLE: TypeAdapter[AgentTable] = TypeAdapter(AgentTable)
_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")  # as `orchestrator.tasks.Role`
_SECTIONS = ("roots", "agents")


def load_catalog(path: Path, registry: AgentRegistry, *, threads: DaemonThreads) -> None:
    """Register the agents a file declares, in its order.

    An agent whose program or package is missing is registered as unavailable, with a sentence
    that says what to install. If anything is wrong with the file, no agent is registered.

    Args:
        path: The file, called agents.toml by custom.
        registry: Where the agents go.
        threads: For background agents.

    Raises:
        CatalogError: The file cannot be used as it is; one line for each thing that is wrong.
    """
    document = _read(path)
    problems = [f"[{name}]: has no meaning here" for name in document if name not in _SECTIONS]
    roots = _roots(_section(document, "roots", problems), path.parent, problems)
    place = Place(path.parent.resolve(), threads)
    built: list[tuple[AgentTable, Built]] = []
    for role, raw in _section(document, "agents", problems).items():
        try:
            if role in registry:
                raise ValueError("there is already an agent with this role")
            table = _table(role, raw)
            built.append((table, table.build(role, place)))
        except ValidationError as error:
            problems += (f"[agents.{role}] {text}" for text in _texts(error, raw))
        except ValueError as error:
            problems.append(f"[agents.{role}] {error}")
    if problems:
        raise CatalogError("\n".join(f"{path}: {problem}" for problem in problems))
    for table, (agent, unavailable) in built:
        if table.defaults or table.paths:
            agent = CheckedAgent(agent, defaults=table.defaults, paths=table.paths, roots=roots)
        registry.register(
            agent, kind=table.kind, options=table.agent_options, unavailable=unavailable
        )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except OSError as error:
        raise CatalogError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise CatalogError(f"{path}: is not UTF-8 text") from None
    except tomllib.TOMLDecodeError as error:
        raise CatalogError(f"{path}: is no valid TOML: {error}") from None


def _section(document: dict[str, Any], name: str, problems: list[str]) -> dict[str, Any]:
    section = document.get(name, {})
    if isinstance(section, dict):
        return section
    problems.append(f"{name}: has to be a table")
    return {}


def _roots(section: dict[str, Any], folder: Path, problems: list[str]) -> Roots:
    folders: dict[str, Path] = {}
    for name, value in section.items():
        if not name or "/" in name or not isinstance(value, str) or not value:
            problems.append(f'[roots] {name}: has to be written as name = "folder"')
            continue
        try:
            folders[name] = folder / Path(value).expanduser()
        except RuntimeError:
            problems.append(f"[roots] {name}: there is no such user's home folder")
            continue
        if not folders[name].is_dir():
            problems.append(f"[roots] {name}: there is no folder {folders[name]}")
    return Roots(folders)


def _table(role: str, raw: Any) -> AgentTable:
    if not _ROLE.fullmatch(role):
        raise ValueError(
            "a role has at most 64 letters, digits, dots, dashes and underscores, and begins with "
            "a letter or digit"
        )
    return _TABLE.validate_python(raw)


def _texts(error: ValidationError, raw: Any) -> Iterator[str]:
    for details in error.errors():
        location = details["loc"]
        if location and isinstance(raw, dict) and location[0] == raw.get("kind"):
            location = location[1:]
        key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)
        text = _text(details)
        yield f"{key[1:]}: {text}" if key else text


def _text(details: ErrorDetails) -> str:
    match details["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is no key of this kind"
        case "union_tag_invalid":
            return f"kind: unknown; the kinds are {', '.join(KINDS)}"
        case "union_tag_not_found":
            return f"kind: is missing; the kinds are {', '.join(KINDS)}"
        case "value_error":
            return str(details["ctx"]["error"])
        case _:
            message = details["msg"]
            return message.replace("Input should be", "must be").replace("String should", "must")
