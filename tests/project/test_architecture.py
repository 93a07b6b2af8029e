"""Imports go one way, and importing the core loads no server, no database, no HTTP."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINTER = Path(sys.executable).with_name("lint-imports")
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]
SERVER = "starlette uvicorn jose httpx typer structlog"
SQL = "sqlmodel sqlalchemy sqlite3 alembic"


@pytest.mark.parametrize("contract", [contract["id"] for contract in CONTRACTS])
def test_import_contract_is_kept(contract: str) -> None:
    command = [str(LINTER), "--no-cache", "--no-logo", "--contract", contract]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("module", "unwanted"),
    [
        ("orchestrator", f"{SERVER} {SQL} pydantic_settings"),
        ("orchestrator.settings", f"{SERVER} {SQL}"),
        ("api", f"{SERVER} {SQL} pydantic orchestrator"),
    ],
)
def test_an_import_stays_light(module: str, unwanted: str) -> None:
    code = f"import sys, {module}\nprint(*sorted(set({unwanted.split()!r}) & set(sys.modules)))"
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == []
