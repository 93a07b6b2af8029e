"""Thousands of requests made from the OpenAPI document: every answer is one it names.

schemathesis makes good and bad requests for every route but streams and the switch of the worker
loop, and checks status, media type and body of each answer, that bad ones are refused, that other
methods are 405, and that nothing is answered without a token.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import orjson
import pytest

from tests.e2e.client import Client
from tests.e2e.serving import process, token
from tests.server import ROOT

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

SECONDS = 20  # at most; enough for some 1,000 requests on a machine with nothing else to do
NOT_TRIED = r"stream$|task-runner/(logs|start|stop)$"  # a stopped loop keeps the others waiting
COMMAND = Path(sys.executable).with_name("schemathesis")
FILES = {"description": "x", "selectedAgents": ["librarian"], "inputs": {"files": {"a.html": "x"}}}


def run(url: str, bearer: str, task_id: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run schemathesis against a server.

    Args:
        url: The server's address.
        bearer: A token for everything.
        task_id: A finished task with a file.
        folder: Where it may leave its own.
    """
    command = [
        str(COMMAND), "--config-file", str(ROOT / "tests/e2e/schemathesis.toml"),
        "run", f"{url}/openapi.json", "--url", url, "--header", f"Authorization: Bearer {bearer}",
        "--exclude-path-regex", NOT_TRIED, "--phases", "coverage,fuzzing",
        "--max-time", str(SECONDS), "--max-examples", "8", "--seed", "1", "--no-color",
        "--generation-database", "none", "--continue-on-failure", "--warnings", "off",
    ]  # fmt: skip
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.e2e.schemathesis_hooks",
        "SCHEMATHESIS_TASK_ID": task_id,
    }
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False,
        timeout=3 * SECONDS,
    )  # fmt: skip


async def test_every_answer_is_one_that_the_document_names(tmp_path: Path) -> None:
    with process(tmp_path) as server:
        server.start()
        client = Client(server.port, token("fuzz", "tasks:read", "tasks:execute", "admin"))
        task_id = str((await client.run(FILES))[0].data["taskId"])
        done = await asyncio.to_thread(run, server.url, str(client.token), task_id, tmp_path)
        assert done.returncode == 0, done.stdout[-10_000:] + done.stderr
        document = await client.get("/openapi.json")
        tried = [
            (method, path)
            for path, table in document["paths"].items()
            for method in table
            if path != "/openapi.json" and not re.search(NOT_TRIED, path)
        ]
        assert f"Tested: {len(tried)}" in done.stdout, done.stdout
        statuses = [
            orjson.loads(line)["status"]
            for line in server.stderr.splitlines()
            if '"message":"request"' in line
        ]
        # How many there are and which depends on what else the machine does.
        assert len(statuses) > len(tried)
        assert {200, 401, 404} <= set(statuses)
        assert max(status or 0 for status in statuses) < 500
