"""Agents: the protocol they fulfil, what they are given, what they return, and the registry.

An agent is any object with ``role``, ``name``, ``description`` and ``async def run(context)``.
It learns about its task from the `AgentContext` and reports through it. What it does to the world
is done at least once: after a crash or a failure another attempt may run, and says so in
``context.attempt``.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from orchestrator.errors import FieldError, InvalidRequest
from orchestrator.events import ArtifactInfo, Usage, to_json

if TYPE_CHECKING:
    from orchestrator.processes import ProcessGroup
    from orchestrator.progress import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentResult:
    """What an agent delivers.

    Its output text is everything it wrote with `AgentContext.write`; `text` is appended to that
    unless it was written already.
    """

    text: str | None = None
    """The output text, for agents that do not stream it."""
    output: Any = None
    """A JSON value for programs, e.g. the next agent."""
    usage: Usage | None = None
    """What it consumed."""


@dataclass(frozen=True, slots=True)
class AgentOutput:
    """What an earlier agent of the same task delivered."""

    text: str = ""
    """The concatenated ``content`` of its last attempt."""
    output: Any = None
    """Its JSON result."""
    artifacts: tuple[ArtifactInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """The task an agent works for."""

    task_id: str
    title: str
    description: str
    provider: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class AgentContext:
    """Everything one attempt of an agent knows and may do.

    Every call raises `AttemptClosed` once the attempt has ended, and `AppendRefused` when the log
    no longer takes events of this run; let both pass.
    """

    __slots__ = ("_reporter", "attempt", "inputs", "outputs", "restored", "role", "task")

    def __init__(
        self,
        task: TaskInfo,
        role: str,
        attempt: int,
        inputs: Mapping[str, Any],
        outputs: Mapping[str, AgentOutput],
        restored: Any,
        reporter: Reporter,
    ) -> None:
        self.task = task
        self.role = role
        self.attempt = attempt
        """1 for the first attempt; more after a failure, a crash or a retry."""
        self.inputs = inputs
        """The ``inputs`` of the request."""
        self.outputs = outputs
        """Outputs of the agents that finished before this one started, by role."""
        self.restored = restored
        """What an earlier attempt handed to `checkpoint` last, else None."""
        self._reporter = reporter

    @property
    def closed(self) -> bool:
        """Whether the attempt has ended although its agent still runs; nobody waits for it."""
        return self._reporter.closed

    def progress(
        self,
        message: str | None = None,
        *,
        progress: float | None = None,
        done: int | None = None,
        total: int | None = None,
        failed: int | None = None,
        eta_seconds: float | None = None,
    ) -> Coroutine[Any, Any, None]:
        """Report how far the work is. Returns when accepted; waits only while the buffer is full.

        Args:
            message: A status line for people; each is an event of its own.
            progress: 0 to 1. Derived from `done` and `total` when left out.
            done: Items finished.
            total: Items in all.
            failed: Items that could not be done.
            eta_seconds: Seconds this attempt will still take.
        """
        return self._reporter.progress(message, progress, done, total, failed, eta_seconds)

    def write(self, text: str) -> Coroutine[Any, Any, None]:
        """Append to the output text. Returns when accepted; waits only while the buffer is full.

        Pieces that wait for the same commit may reach readers as one.

        Raises:
            OutputLimitExceeded: The attempt has written more than the settings allow.
        """
        return self._reporter.write(text)

    async def save_artifact(
        self, name: str, data: bytes | str, media_type: str = "application/octet-stream"
    ) -> ArtifactInfo:
        """Store a file with the task; returns when it is stored.

        Args:
            name: File name without folders, at most 200 characters; a later save replaces it.
            data: The content; text is stored as UTF-8.
            media_type: E.g. ``text/markdown``.

        Raises:
            AgentError: The name cannot be used, or the content is larger than the settings allow.
        """
        content = data.encode("utf-8", "replace") if isinstance(data, str) else data
        return await self._reporter.save_artifact(name, content, media_type)

    async def checkpoint(self, state: Any) -> None:
        """Store a JSON value for the next attempt's `restored`; returns when it is stored."""
        await self._reporter.checkpoint(state)

    async def store_process_group(self, group: ProcessGroup) -> None:
        """Store the process group this attempt started, so that a recovery can end what is left.

        Returns when it is stored. Call it right after the start, before the program gets work.
        """
        await self._reporter.store_process_group(group.id, group.started)


class Agent(Protocol):
    """What can be selected for a task."""

    @property
    def role(self) -> str:
        """The role, unique in the registry; see `orchestrator.tasks.Role` for its alphabet."""

    @property
    def name(self) -> str:
        """Display name."""

    @property
    def description(self) -> str:
        """What it does, in a sentence."""

    async def run(self, context: AgentContext) -> AgentResult | None:
        """Do the work of one attempt; None is an empty result.

        Cancelled by `asyncio.CancelledError`, once and then once a second until a grace period
        ends. Code that blocks the loop belongs into a `BackgroundTask` or a command.

        Raises:
            AgentError: To fail with a message and code of its own.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentOptions:
    """How the orchestrator treats an agent."""

    timeout_seconds: float | None = None
    """Per attempt; None for no limit but the task's."""
    max_attempts: int = 1
    """How often it is tried when it fails with a retryable error or a timeout."""
    retry_delay_seconds: float = 1.0
    """Before the second attempt; doubled each time, with jitter, at most 60."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """An agent of the registry with everything around it."""

    agent: Agent
    kind: str = "python"
    """Where it comes from: python, command, background, llm or scripted."""
    options: AgentOptions = AgentOptions()
    unavailable: str | None = None
    """Why it cannot be used now and which setting would change that; None when it can."""

    def listed(self) -> dict[str, Any]:
        """Its entry in the list of agents, under the names of the wire."""
        entry: dict[str, Any] = {
            "agentRole": self.agent.role,
            "agentName": self.agent.name,
            "agentDescription": self.agent.description,
            "kind": self.kind,
            "available": self.unavailable is None,
        }
        if self.unavailable is not None:
            entry["unavailableReason"] = self.unavailable
        return entry


class Team(NamedTuple):
    """Some agents of the registry, as events and lists show them."""

    infos: list[dict[str, str]]
    """{agentRole, agentName, agentDescription} of each, in order; never changed."""
    json: str
    """JSON text of the same with ``kind``."""


MAX_TEAMS = 1000  # remembered; combinations beyond that are put together again


class AgentRegistry:
    """The agents a server or an `Orchestrator` can run, by role, in the order they came.

    Args:
        agents: Agents to register with default options.
    """

    def __init__(self, *agents: Agent) -> None:
        self._registrations: dict[str, Registration] = {}
        self._teams: dict[tuple[str, ...], Team] = {}
        for agent in agents:
            self.register(agent)

    def register(
        self,
        agent: Agent,
        *,
        kind: str = "python",
        options: AgentOptions = AgentOptions(),
        unavailable: str | None = None,
    ) -> None:
        """Add an agent.

        Raises:
            ValueError: The role is taken.
        """
        if agent.role in self._registrations:
            raise ValueError(f"there is already an agent with the role {agent.role!r}")
        self._registrations[agent.role] = Registration(
            agent=agent, kind=kind, options=options, unavailable=unavailable
        )

    def __getitem__(self, role: str) -> Registration:
        """The registration of a role; KeyError when there is none."""
        return self._registrations[role]

    def __iter__(self) -> Iterator[Registration]:
        return iter(self._registrations.values())

    def __len__(self) -> int:
        return len(self._registrations)

    def __contains__(self, role: str) -> bool:
        return role in self._registrations

    def team(self, roles: Sequence[str]) -> Team:
        """Registered agents in this order.

        Raises:
            InvalidRequest: One of them does not exist or is unavailable.
        """
        key = tuple(roles)
        team = self._teams.get(key)
        if team is None:
            self.check(key)
            team = self._team(key)
            if len(self._teams) >= MAX_TEAMS:
                self._teams.clear()
            self._teams[key] = team
        return team

    def _team(self, roles: Sequence[str]) -> Team:
        registrations = [self._registrations[role] for role in roles]
        infos = [
            {
                "agentRole": r.agent.role,
                "agentName": r.agent.name,
                "agentDescription": r.agent.description,
            }
            for r in registrations
        ]
        kinds = [r.kind for r in registrations]
        cards = [{**info, "kind": kind} for info, kind in zip(infos, kinds, strict=True)]
        return Team(infos, to_json(cards))

    def check(self, roles: Sequence[str]) -> None:
        """Raise `InvalidRequest` unless every role can be run now."""
        errors = []
        for index, role in enumerate(roles):
            registration = self._registrations.get(role)
            if registration is None:
                detail = f"there is no agent {role!r}; GET /api/agents lists them"
            elif registration.unavailable is not None:
                detail = f"the agent {role!r} is unavailable: {registration.unavailable}"
            else:
                continue
            errors.append(FieldError(f"/selectedAgents/{index}", detail))
        if errors:
            raise InvalidRequest(*errors)
