"""The small commands: version, settings, agents, token, migrate; and what is said of mistakes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from api.auth import AuthConfig, Authenticator
from api.cli import COMMANDS, GROUPS
from api.settings import Settings
from orchestrator.clock import Clock
from tests.api.cli.support import COMMAND, Finished, Here, environment
from tests.server import ROOT, SECRET

AGENTS = """
[agents.echo]
kind = "command"
name = "Echo"
description = "Says it again."
command = ["echo", "{task.description}"]

[agents.missing]
kind = "command"
command = ["no-such-program-anywhere"]
install = "apt install it"
"""


def test_every_command_is_listed_and_explains_itself(here: Here) -> None:
    listed = here("--help")
    assert listed.status == 0
    groups = {"": listed, **{group: here(group, "--help") for group in GROUPS}}
    for name in COMMANDS:
        group, _, word = name.rpartition(" ")
        assert f" {word} " in groups[group].out
    assert "\x1b" not in listed.out


def test_version(here: Here) -> None:
    plain = here("version")
    found = here("version", "--json").json()
    assert plain == Finished(0, f"poststream {found['version']}\n", "")
    assert found["python"] == sys.version.split()[0]


def test_version_loads_nothing_that_takes_time() -> None:
    heavy = {"httpx", "starlette", "sqlmodel", "rich.console", "orchestrator"}
    code = (
        "import sys, api.cli\n"
        "sys.argv = ['poststream', 'version']\n"
        "try:\n    api.cli.main()\n"
        f"except SystemExit:\n    print(*sorted({heavy!r} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.splitlines()[1:] == [""]


def test_settings_show_value_and_origin_and_hide_secrets(here: Here, tmp_path: Path) -> None:
    (tmp_path / "poststream.toml").write_text("max_threads = 3\n")
    run = here("settings", "--json", jwt_secret=SECRET, port=8001)
    rows = {row["name"]: row for row in run.json()}
    assert list(rows) == [name.upper() for name in Settings.model_fields]
    assert rows["PORT"]["value"] == "8001"
    assert rows["PORT"]["origin"] == "environment"
    assert (rows["MAX_THREADS"]["value"], rows["MAX_THREADS"]["default"]) == ("3", "32")
    assert rows["MAX_THREADS"]["origin"] == "poststream.toml"
    assert rows["DRAIN_SECONDS"]["unit"] == "seconds"
    assert rows["DRAIN_SECONDS"]["help"]
    assert rows["JWT_SECRET"]["value"] == "(hidden)"
    table = here("settings", jwt_secret=SECRET)
    assert SECRET not in run.out + table.out
    assert "\x1b" not in table.out
    assert len(table.out.splitlines()) == 1 + len(rows), "a line each when no terminal folds them"


@pytest.mark.parametrize(
    ("arguments", "settings", "words"),
    [
        (["settings"], {"port": "many"}, "POSTSTREAM_PORT from environment"),
        (["agents"], {"agents_file": "bad.toml"}, "[agents.x] kind: is missing"),
        (["agents", "--server", "http://127.0.0.1:9"], {}, "needs a token"),
        (["token", "--sub", "ann", "--scope", "task:read"], {}, "there is no such scope"),
        (["token", "--sub", " "], {}, "--sub"),
        (["token", "--sub", "ann", "--ttl", "soon"], {}, "must be a duration"),
        (["token", "--sub", "ann", "--ttl", "0"], {}, "must be a duration"),
        (["token", "--sub", "ann"], {"jwks_url": "https://id.example/keys"}, "public key"),
        (["token"], {}, "--sub"),
        (["nonsense"], {}, "nonsense"),
        (["serve", "--port", "many"], {}, "--port"),
        (["serve"], {"environment": "production"}, "POSTSTREAM_JWT_SECRET"),
        (["serve"], {"agents_file": "none.toml"}, "There is no file"),
        (["serve"], {"agents_file": "bad.toml"}, "[agents.x] kind: is missing"),
    ],
)
def test_a_mistake_is_a_sentence_and_status_2(
    here: Here, tmp_path: Path, arguments: list[str], settings: dict[str, str], words: str
) -> None:
    (tmp_path / "bad.toml").write_text("[agents.x]\n")
    run = here(*arguments, **settings)
    assert run.status == 2
    assert run.out == ""
    assert words in run.err
    assert "Traceback" not in run.err


def test_agents_of_the_file(here: Here, tmp_path: Path) -> None:
    (tmp_path / "agents.toml").write_text(AGENTS)
    echo, missing = here("agents", "--json", agents_file="agents.toml").json()["agents"]
    assert echo == {
        "agentRole": "echo",
        "agentName": "Echo",
        "agentDescription": "Says it again.",
        "kind": "command",
        "available": True,
    }
    assert missing["available"] is False
    assert "apt install it" in missing["unavailableReason"]
    table = here("agents", agents_file="agents.toml")
    assert "Says it again." in table.out
    assert "unavailable: " in table.out
    none = here("agents")
    assert (none.status, none.out) == (0, "")
    assert "POSTSTREAM_AGENTS_FILE" in none.err


def test_a_token_is_accepted_and_says_what_it_may(here: Here) -> None:
    options = ["--sub", "ann", "--scope", "tasks:read, admin", "--ttl", "90m"]
    run = here("token", *options, "--json", jwt_secret=SECRET)
    made = run.json()
    assert (made["sub"], made["scope"]) == ("ann", "tasks:read admin")
    config = AuthConfig(
        algorithm="HS256", issuer="poststream", audience="poststream", secret=SECRET
    )
    now = Clock().wall_ms() / 1000
    header = (b"authorization", b"Bearer " + made["token"].encode())
    principal = Authenticator(config, wall_seconds=lambda: now).authenticate([header], b"")
    assert principal.subject == "ann"
    assert principal.scopes == {"tasks:read", "admin"}
    assert 5390 < principal.expires_at - now <= 5400


def test_a_development_secret_is_made_once_and_kept(here: Here, tmp_path: Path) -> None:
    first = here("token", "--sub", "ann")
    assert first.status == 0
    assert first.out.count(".") == 2
    secret = (tmp_path / ".poststream" / "jwt_secret").read_text()
    here("token", "--sub", "ann")
    assert (tmp_path / ".poststream" / "jwt_secret").read_text() == secret


def test_migrate_makes_the_database_and_then_has_nothing_to_do(here: Here, tmp_path: Path) -> None:
    first = here("migrate", "--json").json()
    assert first["database"] == str(tmp_path / ".poststream" / "tasks.db")
    assert first["before"] is None
    again = here("migrate", "--json").json()
    assert again["before"] == again["now"] == first["now"]
    assert "nothing to do" in here("migrate").out


def test_a_folder_that_cannot_be_used_is_a_sentence(here: Here, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (["migrate"], ["serve", "--port", "0"]):
        run = here(*command, data_dir="file")
        assert (run.status, run.out) == (1, "")
        assert run.err.endswith("file: is no folder\n")


def test_no_reader_of_the_output_is_no_traceback(tmp_path: Path) -> None:
    command = " ".join([*COMMAND, "settings", "|", "true"])
    run = subprocess.run(
        ["bash", "-o", "pipefail", "-c", command],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "Traceback" not in run.stderr
