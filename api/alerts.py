"""Alerts on their way to `ALERT_WEBHOOK_URL`: one after the other, and never in the way.

What the worker tells is only put into a queue; a task of its own sends it. An alert that cannot be
delivered for long is given up with a line in the server log.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Sequence

import httpx
from pydantic import SecretStr

from orchestrator.clock import iso
from orchestrator.events import to_json
from orchestrator.runtime.alerts import Alert, Tell, tell_nobody

logger = logging.getLogger(__name__)

DELAYS = (1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 60.0, 60.0, 60.0)
"""Seconds before each further attempt; after the last one the alert is given up."""
TIMEOUT_SECONDS = 10.0
MAX_WAITING = 1000  # a receiver that is away for a night must not fill the memory
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LAST_SECONDS = 1.0  # for what waits when the server ends


class Webhook:
    """Delivers alerts to one address.

    Args:
        url: Where they are posted.
        delays: Seconds before each further attempt.
    """

    def __init__(self, url: str, *, delays: Sequence[float] = DELAYS) -> None:
        self._url = url
        self._delays = delays
        self._waiting: asyncio.Queue[Alert] = asyncio.Queue(MAX_WAITING)

    def tell(self, alert: Alert) -> None:
        """Take an alert; the newest are dropped when too many wait."""
        try:
            self._waiting.put_nowait(alert)
        except asyncio.QueueFull:
            logger.warning("alert dropped: %d wait already", MAX_WAITING, extra=_named(alert))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Deliver until the block is left; what waits then gets a moment."""
        local = httpx.URL(self._url).host in LOOPBACK  # no proxy is asked for this machine itself
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=not local) as client:
            delivering = asyncio.create_task(self._deliver_all(client))
            try:
                yield
            finally:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(LAST_SECONDS):
                        await self._waiting.join()
                delivering.cancel()
                await asyncio.wait([delivering])

    async def _deliver_all(self, client: httpx.AsyncClient) -> None:
        while True:
            alert = await self._waiting.get()
            try:
                await self._deliver(client, alert)
            finally:
                self._waiting.task_done()

    async def _deliver(self, client: httpx.AsyncClient, alert: Alert) -> None:
        body = {
            "kind": alert.kind,
            "taskId": alert.task_id,
            "title": alert.title,
            "since": iso(alert.since_ms),
        }
        problem = ""
        for delay in (0.0, *self._delays):
            await asyncio.sleep(delay)
            problem, again = await self._post(client, to_json(body).encode())
            if not problem:
                return
            if not again:
                break
        logger.error("alert not delivered: %s", problem, extra=_named(alert))

    async def _post(self, client: httpx.AsyncClient, content: bytes) -> tuple[str, bool]:
        """Post once; returns what went wrong, and whether it may go better later."""
        headers = {"Content-Type": "application/json"}
        try:
            answer = await client.post(self._url, content=content, headers=headers)
        except httpx.HTTPError as error:  # its text may have the address, which may be a secret
            return type(error).__name__, True
        if answer.is_success:
            return "", False
        again = answer.is_server_error or answer.status_code in (408, 425, 429)
        return f"status {answer.status_code}", again


@contextlib.asynccontextmanager
async def alerting(url: SecretStr | None) -> AsyncIterator[Tell]:
    """Who takes alerts: a webhook at this address, or nobody."""
    if url is None:
        yield tell_nobody
        return
    webhook = Webhook(url.get_secret_value())
    async with webhook.running():
        yield webhook.tell


def _named(alert: Alert) -> dict[str, str]:
    return {"task_id": alert.task_id, "kind": alert.kind}
