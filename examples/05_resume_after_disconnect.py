"""Nothing is lost: not by a cut connection, and not by a server that is killed.

Shows: a stream cut after five events, resumed with Last-Event-ID; then the server killed in the
       middle of a task, started again, and the same stream resumed once more.
Run:    python examples/05_resume_after_disconnect.py
Expect: five chapters, and twice the proof that what was seen is what the log has. The first agent
        had finished and does not run again; the second one, which was killed, makes a second
        attempt. It takes about five seconds.

This is the protocol with nothing hidden. A program takes `api.client.Client`, which does all of
it by itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx

from api.auth import make_token
from api.sse_reader import SseMessage, SseReader

SECRET = "only for this example, at least 32 bytes"
TOKEN = make_token(
    SECRET,
    subject="ann",
    scopes=["tasks:read", "tasks:execute"],
    ttl_seconds=300,
    issuer="poststream",
    audience="poststream",
)
TASK = {
    "description": "Read a book, then tell it",
    "selectedAgents": ["scripted-1", "scripted-2"],
    "inputs": {
        "script": [  # they pretend to work, twenty times a second
            {"agent": "scripted-1", "texts": [f"page {n}" for n in range(1, 21)], "delay": 0.05},
            {"agent": "scripted-2", "texts": [f"verse {n}" for n in range(1, 31)], "delay": 0.05},
        ]
    },
}


class Server:
    """`poststream serve` as a process of its own, on one data folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = "0"  # any free one; the same again after a restart
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        """Start it and return once it serves."""
        others = {k: v for k, v in os.environ.items() if not k.startswith("POSTSTREAM_")}
        settings = {
            "POSTSTREAM_DATA_DIR": str(self._folder / "data"),
            "POSTSTREAM_JWT_SECRET": SECRET,
            "POSTSTREAM_SCRIPTED_AGENTS": "1",
        }
        with open(self._folder / "log", "w") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "api.cli", "serve", "--port", self._port],
                cwd=self._folder,
                env={**others, **settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        first_line = self._process.stdout.readline()  # comes once it serves: "… on http://…"
        if not first_line:
            raise SystemExit((self._folder / "log").read_text())
        self.url = first_line.split()[-1]
        self._port = self.url.rpartition(":")[2]

    def kill(self) -> None:
        """As a crash does: SIGKILL, without a chance to clean up."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None


def stream(
    method: str, url: str, *, after: int = 0, json: Any = None
) -> Generator[SseMessage, None, None]:
    """The numbered messages of one answer until it ends or breaks off; closing it cuts it."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    if after:
        headers["Last-Event-ID"] = str(after)
    reader = SseReader()
    with (
        httpx.Client(trust_env=False) as client,
        client.stream(method, url, headers=headers, json=json) as answer,
        contextlib.suppress(httpx.TransportError),  # it broke off
    ):
        answer.raise_for_status()
        for piece in answer.iter_raw():
            yield from (message for message in reader.feed(piece) if message.id)


def read_until(last: int, messages: Generator[SseMessage, None, None]) -> list[SseMessage]:
    """Messages up to a number; then the connection is cut."""
    read = []
    with contextlib.closing(messages):
        for message in messages:
            read.append(message)
            if message.id == str(last):
                break
    return read


def prove(seen: list[SseMessage], task: str) -> None:
    """Compare what was seen with the log of the task."""
    answer = httpx.get(
        f"{task}/events?limit=1000", headers={"Authorization": f"Bearer {TOKEN}"}, trust_env=False
    )
    log = answer.json()["events"]
    assert [message.id for message in seen] == [str(n) for n in range(1, len(seen) + 1)]
    assert [json.loads(message.data) for message in seen] == log[: len(seen)]
    print(f"   Seen: 1 to {len(seen)} of {len(log)}, each once and as the log has it.")


def tell(server: Server) -> None:
    print("1. The answer of the POST is the stream. It is cut after event 5.")
    seen = read_until(5, stream("POST", f"{server.url}/api/agents/execute/stream", json=TASK))
    task = f"{server.url}/api/tasks/{json.loads(seen[0].data)['taskId']}"

    print("2. The task goes on. Somebody else watches it until event 15.")
    read_until(15, stream("GET", f"{task}/stream"))

    print("3. Resumed after event 5, read until event 25.")
    seen += read_until(25, stream("GET", f"{task}/stream", after=5))
    prove(seen, task)

    print("4. Resumed after event 25. At event 30 the server is killed.")
    for message in stream("GET", f"{task}/stream", after=25):
        seen.append(message)
        if message.id == "30":
            server.kill()
    print(f"   The stream broke off after event {len(seen)}, without an end.")

    print("5. The server is started again, and the stream resumed.")
    server.start()
    for message in stream("GET", f"{task}/stream", after=len(seen)):
        seen.append(message)
        event = json.loads(message.data)
        if "message" not in event:
            reason = event.get("reason") or event.get("code") or event.get("agentRole", "")
            print(f"   {event['seq']:>4}  {event['type']}  {reason}")
    prove(seen, task)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        server = Server(Path(folder))
        try:
            server.start()
            tell(server)
        finally:
            server.kill()


if __name__ == "__main__":
    main()
