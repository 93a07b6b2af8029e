"""Settings of a runtime: where it keeps its data, how much it takes on, what it gives up on.

A settings object is frozen, read once where the program is put together, and handed on whole.
Each limit says which harm it stops. The server adds its own settings in `api.settings`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import field_validator

from orchestrator.settings_base import SettingRow as SettingRow
from orchestrator.settings_base import SettingsBase, setting
from orchestrator.settings_base import describe_settings as describe_settings


class RuntimeSettings(SettingsBase):
    """What `orchestrator.runtime` needs to know.

    Raises:
        SettingsError: A value cannot be used; the text names the setting, never a secret.
    """

    data_dir: Path = setting(
        Path(".poststream"), "Folder for everything the server keeps: database, secret, lock."
    )
    database_url: str | None = setting(
        None,
        "Database; without it SQLite in the data folder. `sqlite://` keeps everything in a private "
        "temporary folder that is gone at exit.",
        secret=True,
    )
    agents_file: Path | None = setting(None, "File that declares the agents, see agents.toml.")
    scripted_agents: bool = setting(
        False, "Offer the agents `scripted-1` … `scripted-8` for tests and measurements."
    )
    max_concurrent_tasks: int = setting(
        64,
        "Tasks that run at once in this process; 1 runs one after another. More would starve "
        "each other of memory and processor.",
        "tasks",
        ge=1,
    )
    max_running_per_owner: int | None = setting(
        None,
        "Tasks of one owner that run at once; none by default. Keeps one owner from taking "
        "every slot.",
        "tasks",
        ge=1,
    )
    max_tasks_per_owner: int = setting(
        1_000,
        "Unfinished tasks one owner may have; more are refused (429). Keeps a loop in a client "
        "from filling the queue.",
        "tasks",
        ge=1,
    )
    max_queued_tasks: int = setting(
        10_000,
        "Tasks that wait for a slot, of all owners together; more are refused (503). A queue that "
        "nobody works off must not grow for ever.",
        "tasks",
        ge=0,
    )
    max_threads: int = setting(
        32,
        "Blocking agents that run at once; others wait. Each takes a thread that nobody can kill.",
        "threads",
        ge=1,
    )
    max_stragglers: int = setting(
        16,
        "Agents that ran on after they were stopped; above it no new task is claimed. They hold "
        "threads and memory nobody gets back.",
        "agents",
        ge=0,
    )
    runner_autostart: bool = setting(
        True,
        "Start the worker loop with the server, unless it was stopped; false leaves it to whoever "
        "starts it.",
    )
    runner_log_lines: int = setting(
        500,
        "Lines of the worker's log that are kept. They are held in memory and stored once a "
        "second.",
        "lines",
        ge=1,
        le=100_000,
    )
    task_timeout_seconds: float = setting(
        3600,
        "Active time a task may take unless its request says otherwise. A hanging agent must not "
        "hold a slot for ever.",
        "seconds",
        gt=0,
        allow_inf_nan=False,
    )
    on_restart: Literal["resume", "fail"] = setting(
        "resume",
        "What becomes of tasks that ran when the process ended: they go on from their last "
        "finished agent, or fail.",
    )
    recover_max_age_seconds: float | None = setting(
        None,
        "Tasks that ran when the process ended longer ago than this fail instead of going on; "
        "none by default.",
        "seconds",
        gt=0,
        allow_inf_nan=False,
    )
    recover_max_attempts: int = setting(
        3,
        "Recoveries in a row without a finished agent, then the task fails. A task that kills its "
        "process must not do so for ever.",
        "recoveries",
        ge=0,
    )
    drain_seconds: float = setting(
        10,
        "Time running tasks get at shutdown before they are handed back to the queue.",
        "seconds",
        ge=0,
        allow_inf_nan=False,
    )
    cancel_grace_seconds: float = setting(
        5,
        "Time agents get to stop after a cancel; then the task ends without them.",
        "seconds",
        ge=0,
        allow_inf_nan=False,
    )
    stuck_after_seconds: float = setting(
        300,
        "A running task without an event for this long is stuck: shown as such, logged, alerted.",
        "seconds",
        gt=0,
        allow_inf_nan=False,
    )
    stuck_action: Literal["mark", "fail"] = setting(
        "mark", "What becomes of a stuck task: `mark` only tells, `fail` ends it too."
    )
    task_history_retention_days: float = setting(
        30,
        "Finished tasks are deleted after this time, fractions allowed; 0 deletes one once it has "
        "ended and its last reader left. A history must not fill the disk.",
        "days",
        ge=0,
        le=100_000,
        allow_inf_nan=False,
    )
    max_event_bytes: int = setting(
        256 * 1024,
        "One event; longer text is split or cut. One event must fit one write of a stream.",
        "bytes",
        ge=1024,
    )
    max_agent_output_bytes: int = setting(
        8 * 1024 * 1024,
        "Output of one attempt, then the agent fails. A flood must not fill the disk.",
        "bytes",
        ge=1024,
    )
    max_artifact_bytes: int = setting(
        64 * 1024 * 1024,
        "One artifact, then the agent fails. Artifacts are held in memory while they are stored.",
        "bytes",
        ge=1024,
    )
    max_task_log_bytes: int = setting(
        256 * 1024 * 1024,
        "All events of one task, then its agents fail. One task must not fill the disk.",
        "bytes",
        ge=1024,
    )
    channel_bytes: int = setting(
        64 * 1024 * 1024,
        "Recent events of all tasks kept in memory for readers; older ones are read from the log. "
        "Slow readers must not take all memory.",
        "bytes",
        ge=0,
    )

    @field_validator("data_dir", "agents_file")
    @classmethod
    def _expand(cls, path: Path | None) -> Path | None:
        return None if path is None else path.expanduser()

    @field_validator("database_url")
    @classmethod
    def _check_database_url(cls, url: str | None) -> str | None:
        if url is None or re.fullmatch(r"sqlite://(/[^?#]+)?", url):
            return url
        raise ValueError("must be sqlite:///path/to/file.db, or sqlite:// for a temporary one")

    @property
    def database_path(self) -> Path | None:
        """The absolute path of the SQLite file; None for one in a private temporary folder."""
        if self.database_url is None:
            return self.data_dir.absolute() / "tasks.db"
        if self.database_url in ("sqlite://", "sqlite:///:memory:"):
            return None
        return Path(self.database_url.removeprefix("sqlite:///")).expanduser().absolute()
