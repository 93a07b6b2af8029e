"""Settings: where they come from, what is refused, what is shown."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from pydantic import ValidationError

from orchestrator.errors import SettingsError
from orchestrator.settings import RuntimeSettings, describe_settings
from orchestrator.settings_base import SettingsBase, setting


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(SettingsBase, "folder", tmp_path)
    return tmp_path


class Whole(SettingsBase):
    complete = True

    max_threads: int = setting(1, "Threads.", "threads", ge=1)
    api_key: str | None = setting(None, "A secret.", secret=True, pattern="^sk-")


def test_defaults_are_those_of_the_contract() -> None:
    defaults = {row.name: row.default for row in describe_settings(RuntimeSettings())}
    assert defaults == {
        "DATA_DIR": ".poststream",
        "DATABASE_URL": "",
        "AGENTS_FILE": "",
        "SCRIPTED_AGENTS": "false",
        "MAX_CONCURRENT_TASKS": "64",
        "MAX_RUNNING_PER_OWNER": "",
        "MAX_TASKS_PER_OWNER": "1000",
        "MAX_QUEUED_TASKS": "10000",
        "MAX_THREADS": "32",
        "MAX_STRAGGLERS": "16",
        "RUNNER_AUTOSTART": "true",
        "RUNNER_LOG_LINES": "500",
        "TASK_TIMEOUT_SECONDS": "3600",
        "ON_RESTART": "resume",
        "RECOVER_MAX_AGE_SECONDS": "",
        "RECOVER_MAX_ATTEMPTS": "3",
        "DRAIN_SECONDS": "10",
        "CANCEL_GRACE_SECONDS": "5",
        "STUCK_AFTER_SECONDS": "300",
        "STUCK_ACTION": "mark",
        "TASK_HISTORY_RETENTION_DAYS": "30",
        "MAX_EVENT_BYTES": str(256 * 1024),
        "MAX_AGENT_OUTPUT_BYTES": str(8 * 1024**2),
        "MAX_ARTIFACT_BYTES": str(64 * 1024**2),
        "MAX_TASK_LOG_BYTES": str(256 * 1024**2),
        "CHANNEL_BYTES": str(64 * 1024**2),
    }


def test_the_nearest_source_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "poststream.toml").write_text(
        "max_threads = 1\ndrain_seconds = 1\nMAX_STRAGGLERS = 1"
    )
    (folder / ".env").write_text(
        "POSTSTREAM_MAX_THREADS=2\nPOSTSTREAM_DRAIN_SECONDS=2\n"
        "POSTSTREAM_STUCK_AFTER_SECONDS=2\nOTHER=x\n"
    )
    monkeypatch.setenv("POSTSTREAM_MAX_THREADS", "3")
    monkeypatch.setenv("POSTSTREAM_DRAIN_SECONDS", "3")
    settings = RuntimeSettings(max_threads=4)
    found = {row.name: (row.value, row.origin) for row in describe_settings(settings)}
    assert found["MAX_THREADS"] == ("4", "argument")
    assert found["DRAIN_SECONDS"] == ("3", "environment")
    assert found["STUCK_AFTER_SECONDS"] == ("2", ".env")
    assert found["MAX_STRAGGLERS"] == ("1", "poststream.toml")
    assert found["CANCEL_GRACE_SECONDS"] == ("5", "default")


def test_an_empty_variable_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTSTREAM_MAX_THREADS", "")
    assert RuntimeSettings().max_threads == 32


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RuntimeSettings().max_threads = 5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("MAX_THREADS", "many", "POSTSTREAM_MAX_THREADS from environment: .*integer.*'many'"),
        ("MAX_THREADS", "0", "POSTSTREAM_MAX_THREADS .*greater than or equal to 1"),
        ("DRAIN_SECONDS", "inf", "POSTSTREAM_DRAIN_SECONDS .*finite"),
        ("DRAIN_SECONDS", "-1", "POSTSTREAM_DRAIN_SECONDS"),
        ("ON_RESTART", "explode", "POSTSTREAM_ON_RESTART .*'resume' or 'fail'"),
        ("DATABASE_URL", "postgresql://me:geheim@db/x", "POSTSTREAM_DATABASE_URL .*sqlite:///"),
    ],
)
def test_a_bad_value_names_the_setting(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, text: str
) -> None:
    monkeypatch.setenv(f"POSTSTREAM_{name}", value)
    with pytest.raises(SettingsError, match=text) as caught:
        RuntimeSettings()
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_every_wrong_value_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        RuntimeSettings(max_threads=0, max_stragglers=-1)
    assert len(str(caught.value).splitlines()) == 2


def test_a_secret_is_never_shown() -> None:
    with pytest.raises(SettingsError, match="API_KEY") as caught:
        Whole(api_key="geheim")
    assert "geheim" not in str(caught.value)
    settings = Whole(api_key="sk-geheim")
    assert "geheim" not in repr(settings) + repr(describe_settings(settings))
    assert describe_settings(settings)[1].value == "(hidden)"
    assert describe_settings(Whole())[1].value == ""


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(SettingsError, match="no setting MAX_TREADS; did you mean MAX_THREADS"):
        RuntimeSettings(max_treads=5)  # type: ignore[call-arg]


def test_an_unknown_key_in_the_file_is_refused(folder: Path) -> None:
    (folder / "poststream.toml").write_text("max_treads = 5")
    with pytest.raises(SettingsError, match="no setting max_treads; did you mean MAX_THREADS"):
        Whole()
    # The runtime alone knows a part of the names: the others may be the server's.
    assert RuntimeSettings().max_threads == 32


@pytest.mark.parametrize("text", ["max_threads = ", "a = 1\na = 2", "\x00"])
def test_a_file_that_is_no_toml_is_refused(folder: Path, text: str) -> None:
    (folder / "poststream.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"poststream\.toml cannot be read"):
        RuntimeSettings()


def test_an_unknown_variable_is_warned_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / ".env").write_text("POSTSTREAM_API_KEI=sk-geheim\nPATH=x\n")
    monkeypatch.setenv("POSTSTREAM_MAX_TREADS", "5")
    monkeypatch.setenv("POSTSTREAM_SERVER", "http://127.0.0.1:8000")
    monkeypatch.setenv("POSTSTREAM_TOKEN", "x")
    with caplog.at_level(logging.WARNING):
        Whole()
    assert [record.getMessage() for record in caplog.records] == [
        "POSTSTREAM_API_KEI in .env is no setting; did you mean API_KEY?",
        "POSTSTREAM_MAX_TREADS in the environment is no setting; did you mean MAX_THREADS?",
    ]


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (None, "data/tasks.db"),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:///some/file.db", "some/file.db"),
        ("sqlite:////some/file.db", "/some/file.db"),
    ],
)
def test_the_database_is_a_file_or_temporary(url: str | None, path: str | None) -> None:
    settings = RuntimeSettings(data_dir="data", database_url=url)
    assert settings.database_path == (None if path is None else Path(path).absolute())


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    assert RuntimeSettings(data_dir="~/ps").data_dir == Path("/home/ada/ps")


def test_every_setting_says_what_it_does() -> None:
    for row in describe_settings(RuntimeSettings()):
        assert row.help.endswith("."), row.name
        assert bool(row.unit) == row.name.startswith(("MAX_", "RECOVER_", "CHANNEL_")) or (
            row.unit in ("seconds", "lines", "days")
        ), row.name
