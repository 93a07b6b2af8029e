"""The stream of one task, put together from as many answers as it takes.

What follows here is the rules; how requests are made is the business of `api.client`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import orjson

from api.sse_reader import SseMessage, SseReader, SseTooLarge
from orchestrator.events import TERMINAL_TYPES, Event, parse

if TYPE_CHECKING:
    import httpx

    from api.client import Client

MAX_RETRY_AFTER_SECONDS = 60.0  # a server that asks for more is asked again all the same

_GATEWAY = (502, 503, 504)
_BUSY = (429, 500, *_GATEWAY)


class ClientError(Exception):
    """Base of what this client raises."""


class ServerError(ClientError):
    """Raised when the server answered with an error.

    Args:
        status: HTTP status.
        slug: Stable name of the error, e.g. ``not-found``; empty when the answer came from
            something else on the way.
        detail: What is wrong, in words.
        errors: What is wrong with which field: ``pointer`` and ``detail`` each.
    """

    def __init__(
        self, status: int, slug: str, detail: str, errors: Sequence[Mapping[str, str]] = ()
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.slug = slug
        self.detail = detail
        self.errors = errors


class Unreachable(ClientError):
    """Raised when the server cannot be reached, or not any more for `give_up_seconds`."""


class ConnectionLost(Exception):
    """The connection could not be made, broke off, or is of no use; never leaves this package.

    Args:
        reason: Why, in words.
        retry_after: Seconds the server asks to be left alone for.
    """

    def __init__(self, reason: str, retry_after: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after = retry_after


class NotConnected(ConnectionLost):
    """The connection could not even be made, so the server has seen nothing of the request."""


@dataclass(frozen=True, slots=True)
class StreamedEvent:
    """An event as it came."""

    seq: int
    """Its number in the log of its task: 1, 2, 3 …"""
    type: str
    """Newer servers may send types that are not in `orchestrator.events`; pass over those."""
    data: str
    """Its JSON text, exactly as the log has it."""

    @property
    def fields(self) -> dict[str, Any]:
        """Its JSON object."""
        fields: dict[str, Any] = orjson.loads(self.data)
        return fields

    @property
    def model(self) -> Event:
        """Its model; raises `pydantic.ValidationError` for a type this version does not know."""
        return parse(self.data)


@dataclass(frozen=True, slots=True)
class Start:
    """The request that starts a task."""

    body: bytes
    key: str


class TaskStream:
    """The events of one task, each once and in order. Made by `Client`; iterate it once.

    It ends when the task has ended and everything was read. Until then a lost connection is made
    again after the last event that came. Leave it with `aclose`, or use it in ``async with``.

    Raises:
        ServerError: While iterating: the server refuses, e.g. because the token has expired.
        Unreachable: While iterating: the server was never reached, or is away for too long.
    """

    def __init__(
        self, client: Client, start: Start | None, *, task_id: str = "", after: int = 0
    ) -> None:
        self.task_id = task_id
        """Empty until the server has said it."""
        self.last_event_id = after
        """Number of the last event that was returned or waits to be."""
        self.idempotency_key = start.key if start else None
        """Key of the request that starts the task, for repeating it from elsewhere."""
        self._client = client
        self._start = start
        self._events: deque[StreamedEvent] = deque()
        self._reader = SseReader()
        self._response: httpx.Response | None = None
        self._pieces: AsyncGenerator[bytes] | None = None
        self._reached = False  # the server has answered something
        self._failures = 0  # attempts since the last sign of life
        self._lost_at: float | None = None
        self._over = False  # the last event ends the task, unless it is retried
        self._ended = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the stream; the task goes on."""
        self._ended = True
        await self._hang_up()

    async def cancel(self) -> str:
        """Cancel the task as this stream knows it: not if it has ended or been retried since.

        Returns:
            The status it has now: ``cancelled``, or ``cancelling`` while its agents stop.
        """
        return await self._client.cancel(self.task_id, last_event_id=self.last_event_id)

    async def pause(self, *, stop_now: bool = False) -> str:
        """Pause the task as this stream knows it; see `Client.pause`."""
        return await self._client.pause(
            self.task_id, stop_now=stop_now, last_event_id=self.last_event_id
        )

    async def resume(self) -> str:
        """Let the task go on as this stream knows it; see `Client.resume`."""
        return await self._client.resume(self.task_id, last_event_id=self.last_event_id)

    async def retry(self) -> str:
        """Run what did not complete once more, as this stream knows it; see `Client.retry`."""
        return await self._client.retry(self.task_id, last_event_id=self.last_event_id)

    def __aiter__(self) -> AsyncIterator[StreamedEvent]:
        return self

    async def __anext__(self) -> StreamedEvent:
        while not self._events:
            if self._ended:
                await self._hang_up()
                raise StopAsyncIteration
            await self._read_on()
        return self._events.popleft()

    async def _read_on(self) -> None:
        """One step: connect, read a piece, or wait before the next attempt."""
        try:
            if self._pieces is None:
                await self._connect()
            elif (piece := await anext(self._pieces, None)) is not None:
                self._take(piece)
            else:
                raise ConnectionLost("the answer broke off")
        except NotConnected as error:
            if not self._reached and self._failures == 0:  # more likely a wrong address
                raise Unreachable(f"{self._client.server} cannot be reached: {error}") from error
            await self._wait(error)
        except ConnectionLost as error:
            await self._wait(error)
        except SseTooLarge as error:
            raise ClientError(f"{self._client.server} sent what is no event: {error}.") from error

    async def _connect(self) -> None:
        """Ask for the stream; with the same request as long as no answer has named the task."""
        starts = self._start if not self.task_id else None
        if starts is not None:
            headers = {"Idempotency-Key": starts.key, "Content-Type": "application/json"}
            path = "/api/agents/execute/stream"
            response = await self._client.open("POST", path, headers, starts.body)
        else:
            headers = {"Last-Event-ID": str(self.last_event_id)} if self.last_event_id else {}
            response = await self._client.open("GET", f"{task_path(self.task_id)}/stream", headers)
        self._response = response
        self._reached = True
        if response.status_code == 204:
            self._ended = True
        elif response.status_code == 200 and _is_stream(response):
            self.task_id = self.task_id or response.headers.get("X-Task-Id", "")
            self._reader = SseReader()
            self._pieces = self._client.pieces(response)
        else:
            await self._refused(response, starts=starts is not None)

    async def _refused(self, response: httpx.Response, *, starts: bool) -> None:
        error = await self._client.error_of(response)
        # What a server says of a POST holds. A gateway's answer says nothing about the server.
        waits = _BUSY if not starts else () if error.slug else _GATEWAY
        if error.status in waits:
            raise ConnectionLost(f"status {error.status}", _retry_after(response))
        if not self._over:  # a task that is over may be deleted by the time its end is asked for
            raise error
        self._ended = True

    def _take(self, piece: bytes) -> None:
        self._lost_at = None
        for message in self._reader.feed(piece):
            if message.id is not None:
                self._take_event(message)
            elif message.event in ("complete", "error"):
                self._ended = True
                return

    def _take_event(self, message: SseMessage) -> None:
        number = message.id or ""
        if not (number.isascii() and number.isdigit()):
            return
        seq = int(number)
        if seq <= self.last_event_id:
            return  # it came before the connection was lost
        if seq > self.last_event_id + 1:
            raise ConnectionLost(f"event {self.last_event_id + 1} is missing")
        event = StreamedEvent(seq, message.event, message.data)
        self.task_id = self.task_id or str(event.fields.get("taskId", ""))
        self.last_event_id = seq
        self._over = message.event in TERMINAL_TYPES
        self._failures = 0
        self._events.append(event)

    async def _wait(self, error: ConnectionLost) -> None:
        """The connection is lost: wait before the next attempt, longer each time."""
        await self._hang_up()
        if self._over:
            # The end of the answer is missing, the end of the task is not. Ask once whether
            # somebody had it retried.
            self._ended = self._failures > 0
            self._failures += 1
            return
        client, now = self._client, asyncio.get_running_loop().time()
        self._lost_at = now if self._lost_at is None else self._lost_at
        if now - self._lost_at >= client.give_up_seconds:
            raise Unreachable(f"{client.server} is away for too long: {error}") from error
        delay = client.delays[min(self._failures, len(client.delays) - 1)]
        delay = max(delay, min(error.retry_after, MAX_RETRY_AFTER_SECONDS))
        self._failures += 1
        client.on_lost(str(error), delay)
        await asyncio.sleep(delay)

    async def _hang_up(self) -> None:
        response, pieces = self._response, self._pieces
        self._response = self._pieces = None
        if pieces is not None:
            await pieces.aclose()
        if response is not None:
            await response.aclose()


def task_path(task_id: str) -> str:
    """The path of a task; the id comes from outside and must not lead elsewhere."""
    return f"/api/tasks/{quote(task_id, safe='')}"


def _is_stream(response: httpx.Response) -> bool:
    media_type: str = response.headers.get("Content-Type", "")
    return media_type.partition(";")[0].strip().lower() == "text/event-stream"


def _retry_after(response: httpx.Response) -> float:
    text: str = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
