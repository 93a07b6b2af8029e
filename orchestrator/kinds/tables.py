"""The shape of an ``[agents.ROLE]`` table in agents.toml, and how each kind becomes an agent."""

from __future__ import annotations

import abc
import importlib.util
import inspect
import re
import shutil
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, NamedTuple, NoReturn

from pydantic import BaseModel, ConfigDict, Field, field_validator

from orchestrator.agents import Agent, AgentContext, AgentOptions
from orchestrator.errors import AgentError
from orchestrator.kinds.arguments import Arguments
from orchestrator.kinds.background import BackgroundAgent, BackgroundTask
from orchestrator.kinds.command import Command, CommandAgent
from orchestrator.kinds.importing import MissingPackage, load_object
from orchestrator.kinds.python import described, instance, python_agent
from orchestrator.kinds.threads import DaemonThreads
from orchestrator.processes import MARKER
from orchestrator.progress import check_artifact_name

_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Place(NamedTuple):
    """Where agents are made."""

    folder: Path
    """Of agents.toml."""
    threads: DaemonThreads
    """For background agents."""


class Built(NamedTuple):
    """An agent, and why it cannot be used if that is so."""

    agent: Agent
    unavailable: str | None = None


class UnavailableAgent:
    """Stands in the list for an agent that could not be made."""

    def __init__(self, role: str, name: str, description: str, reason: str) -> None:
        self.role = role
        self.name = name
        self.description = description
        self._reason = reason

    async def run(self, context: AgentContext) -> NoReturn:
        """Fail: it can be listed, not run."""
        raise AgentError(self._reason, code="agent_unavailable")


class _Table(BaseModel, abc.ABC):
    """What all kinds have in common."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    kind: str
    name: str | None = Field(default=None, min_length=1, description="Display name.")
    description: str | None = Field(default=None, description="What it does, in a sentence.")
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False, description="Seconds.")
    max_attempts: int = Field(default=1, ge=1, le=100)
    retry_delay: float = Field(default=1.0, ge=0, le=60, description="Seconds.")
    defaults: dict[str, Any] = Field(default={}, description="Inputs a task may leave out.")
    paths: list[str] = Field(default=[], description="Inputs that are paths inside of [roots].")
    install: str | None = Field(default=None, description="How to get what it needs.")

    @property
    def agent_options(self) -> AgentOptions:
        """How the orchestrator treats the agent."""
        return AgentOptions(
            timeout_seconds=self.timeout,
            max_attempts=self.max_attempts,
            retry_delay_seconds=self.retry_delay,
        )

    @abc.abstractmethod
    def build(self, role: str, place: Place) -> Built:
        """Make the agent.

        Raises:
            ValueError: The table asks for what cannot be; the text begins with the key.
        """

    def _lacking(self, what: str) -> str:
        return f"{what}; install it" + (f" with: {self.install}" if self.install else "")

    def _unavailable(self, role: str, reason: str) -> Built:
        agent = UnavailableAgent(role, self.name or role, self.description or "", reason)
        return Built(agent, reason)


class CommandTable(_Table):
    """`kind = "command"`."""

    kind: Literal["command"]
    command: list[str] = Field(min_length=1)
    stdin: Literal["none", "json"] = "none"
    stdout: Literal["text", "json", "lines"] = "text"
    artifacts: list[str] = []
    env: tuple[list[str], dict[str, str]] = ([], {})
    ok_exit_codes: list[Annotated[int, Field(ge=0, le=255)]] = Field(default=[0], min_length=1)

    @field_validator("command")
    @classmethod
    def _placeholders(cls, command: list[str]) -> list[str]:
        Arguments(command)
        return command

    @field_validator("env", mode="before")
    @classmethod
    def _environment(cls, env: object) -> tuple[list[str], dict[str, str]]:
        names: list[str] = []
        fixed: dict[str, str] = {}
        for entry in env if isinstance(env, list) else [env]:
            if isinstance(entry, str):
                names.append(entry)
            elif isinstance(entry, dict) and all(isinstance(v, str) for v in entry.values()):
                fixed |= entry
            else:
                raise ValueError("has to be a list of names, a table of texts, or a list of both")
        for name in (*names, *fixed):
            if not _ENVIRONMENT_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of an environment variable")
            if name.upper().startswith("POSTSTREAM_") or name == MARKER:
                raise ValueError(f"{name} is the server's own and never passed on")
        return names, fixed

    @field_validator("artifacts")
    @classmethod
    def _artifact_names(cls, artifacts: list[str]) -> list[str]:
        for path in map(PurePosixPath, artifacts):
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"{str(path)!r} does not lie in the work folder")
            try:
                check_artifact_name(path.name)
            except AgentError as error:
                raise ValueError(str(error)) from None
        return artifacts

    def build(self, role: str, place: Place) -> Built:
        """Make the agent; its program is looked for, not run."""
        program = self.command[0]
        if "/" in program and not program.startswith("{"):
            program = str(place.folder / program)
        pass_on, values = self.env
        fixed = {name: v.replace("{folder}", str(place.folder)) for name, v in values.items()}
        command = Command(
            arguments=Arguments([program, *self.command[1:]], folder=place.folder),
            stdin=self.stdin,
            stdout=self.stdout,
            artifacts=self.artifacts,
            pass_on=pass_on,
            fixed=fixed,
            ok_exit_codes=self.ok_exit_codes,
        )
        agent = CommandAgent(role, self.name or role, self.description or "", command=command)
        package = (command.arguments.module or "").partition(".")[0]
        if package and importlib.util.find_spec(package) is None:
            return Built(agent, self._lacking(f"the Python package `{package}` is not installed"))
        if shutil.which(command.arguments.program, path=fixed.get("PATH")) is None:
            return Built(agent, self._lacking(f"the program `{command.shown}` is not on the PATH"))
        return Built(agent)


class PythonTable(_Table):
    """`kind = "python"`."""

    kind: Literal["python"]
    target: str = Field(alias="import")
    options: dict[str, Any] = {}

    def build(self, role: str, place: Place) -> Built:
        """Import what it names and make an agent of it."""
        try:
            target = load_object(self.target, folder=place.folder)
            agent = python_agent(
                target, role, name=self.name, description=self.description, options=self.options
            )
        except MissingPackage as missing:
            return self._unavailable(role, self._lacking(str(missing)))
        except ValueError as error:
            raise ValueError(f"import: {error}") from error
        return Built(agent)


class BackgroundTable(_Table):
    """`kind = "background"`."""

    kind: Literal["background"]
    target: str = Field(alias="class")
    options: dict[str, Any] = {}

    def build(self, role: str, place: Place) -> Built:
        """Import the class it names and make an agent of it."""
        try:
            target = load_object(self.target, folder=place.folder)
            if not (inspect.isclass(target) and issubclass(target, BackgroundTask)):
                raise ValueError("it has to be a class derived from BackgroundTask")
            task: BackgroundTask = instance(target, self.options)
        except MissingPackage as missing:
            return self._unavailable(role, self._lacking(str(missing)))
        except ValueError as error:
            raise ValueError(f"class: {error}") from error
        name = self.name or str(getattr(target, "name", "") or role)
        description = self.description or described(task)
        return Built(BackgroundAgent(role, name, description, task, place.threads))


KINDS = ("command", "python", "background")
"""The values of ``kind``, as an error lists them."""

AgentTable = Annotated[CommandTable | PythonTable | BackgroundTable, Field(discriminator="kind")]
"""Any ``[agents.ROLE]`` table."""
