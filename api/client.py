"""The client: starts tasks on a server and follows them, whatever becomes of the connection.

    async with Client("http://127.0.0.1:8000", token) as client:
        async with client.submit_stream({"description": "…", "selectedAgents": ["lint"]}) as events:
            async for event in events:
                print(event.seq, event.type, event.fields)

Every event comes once and in order, also over lost connections and restarts of the server. The
task is not bound to this stream: who leaves it early finds it again with `Client.follow`.

Only httpx, orjson and the events are imported; a program that talks to a server needs none of it.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx
import orjson

from api.task_stream import ClientError as ClientError
from api.task_stream import ConnectionLost, NotConnected, Start, task_path
from api.task_stream import ServerError as ServerError
from api.task_stream import StreamedEvent as StreamedEvent
from api.task_stream import TaskStream as TaskStream
from api.task_stream import Unreachable as Unreachable

DELAYS = (1.0, 2.0, 4.0, 8.0, 10.0)
"""Seconds before each attempt to come back to a stream; the last one repeats."""

SILENCE_SECONDS = 60.0
"""Without a byte for so long a connection counts as lost; servers send a comment every 15 s."""

GIVE_UP_SECONDS = 600.0
"""How long a server may be away: enough for a restart, a new version, a moved machine."""

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


class Client:
    """Talks to one server as one principal.

    Args:
        server: Address of the server, e.g. ``http://127.0.0.1:8000``.
        token: Bearer token.
        delays: Seconds before each attempt to come back to a stream; the last one repeats.
        silence_seconds: Without a byte for so long a connection counts as lost.
        give_up_seconds: How long a server that was reached once may be away.
        on_lost: Called with a reason and the seconds until the next attempt.

    Raises:
        ClientError: The address or the token cannot be one.
    """

    def __init__(
        self,
        server: str,
        token: str,
        *,
        delays: Sequence[float] = DELAYS,
        silence_seconds: float = SILENCE_SECONDS,
        give_up_seconds: float = GIVE_UP_SECONDS,
        on_lost: Callable[[str, float], None] = lambda reason, seconds: None,
    ) -> None:
        host = _host(server)
        token = token.strip()
        if not (token.isascii() and token.isprintable() and token and " " not in token):
            raise ClientError("The token is empty, or has characters no token has.")
        self.server = server.rstrip("/")
        self.delays = tuple(delays)
        self.give_up_seconds = give_up_seconds
        self.on_lost = on_lost
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {token}", "Accept-Encoding": "identity"},
            timeout=httpx.Timeout(30.0, connect=10.0, read=silence_seconds, pool=None),
            limits=httpx.Limits(max_connections=None),
            trust_env=host not in _LOOPBACK,  # no proxy is asked for this machine itself
        )

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
        """Close all connections; tasks go on."""
        await self._http.aclose()

    def submit_stream(
        self, body: Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> TaskStream:
        """Start a task and follow it from its first event.

        The task is started by the first step of the stream, and once only, however often the
        request has to be repeated.

        Args:
            body: The request, under the names of the wire.
            idempotency_key: Names the task for repeats by whoever knows the key; made if absent.
        """
        key = idempotency_key or secrets.token_urlsafe(24)
        return TaskStream(self, Start(orjson.dumps(body), key))

    def follow(self, task_id: str, *, after: int = 0) -> TaskStream:
        """Follow a task that exists.

        Args:
            task_id: Which.
            after: Number of the last event the caller has; 0 for none.
        """
        return TaskStream(self, None, task_id=task_id, after=after)

    async def snapshot(self, task_id: str) -> dict[str, Any]:
        """What a task is now: status, agents, texts."""
        return dict(await self._json("GET", task_path(task_id)))

    async def cancel(self, task_id: str, *, last_event_id: int | None = None) -> str:
        """Cancel a task; harmless when it is being cancelled already.

        This and the other controls act on the task as the caller knows it: what has ended, was
        paused, resumed or retried behind the last event the caller has seen stays as it is, and
        that is a `ServerError` with status 409.

        Args:
            task_id: Which.
            last_event_id: Number of the last event the caller has seen; None looks it up first.

        Returns:
            The status it has now: ``cancelled``, or ``cancelling`` while its agents stop.
        """
        return await self._control("cancel", task_id, last_event_id)

    async def pause(
        self, task_id: str, *, stop_now: bool = False, last_event_id: int | None = None
    ) -> str:
        """Pause a task: it starts no more agents; harmless when it is paused already.

        Args:
            task_id: Which.
            stop_now: Stop the agents that run, too; they start again when it is resumed.
            last_event_id: As for `cancel`.

        Returns:
            The status it has now: ``paused``, or ``pausing`` while agents run.
        """
        mode = "&mode=now" if stop_now else ""
        return await self._control("pause", task_id, last_event_id, mode)

    async def resume(self, task_id: str, *, last_event_id: int | None = None) -> str:
        """Let a paused task go on; harmless when that was asked for already.

        Args:
            task_id: Which.
            last_event_id: As for `cancel`.

        Returns:
            The status it has now: ``queued``, or ``running`` when it had not come to its pause.
        """
        return await self._control("resume", task_id, last_event_id)

    async def retry(self, task_id: str, *, last_event_id: int | None = None) -> str:
        """Run what did not complete once more, in the same task and log.

        Args:
            task_id: Which.
            last_event_id: As for `cancel`.

        Returns:
            The status it has now: ``queued``, or ``running`` when it was retried before.
        """
        return await self._control("retry", task_id, last_event_id)

    async def agents(self) -> list[dict[str, Any]]:
        """The agents the server offers, as the wire describes them."""
        return list((await self._json("GET", "/api/agents"))["agents"])

    async def download(self, task_id: str, role: str, name: str, file: BinaryIO) -> int:
        """Write an artifact to a file.

        Returns:
            Its size in bytes.
        """
        path = f"{task_path(task_id)}/artifacts/{quote(role, safe='')}/{quote(name, safe='')}"
        return await self.fetch(path, file)

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """One request of the API; for routes that have no method of their own here.

        Args:
            method: HTTP method.
            path: With its query, e.g. ``/api/jobs/history?limit=10``.
            body: Sent as JSON unless it is None.

        Returns:
            The JSON of the answer; None when it has none.
        """
        return await self._json(method, path, None if body is None else orjson.dumps(body))

    async def fetch(self, path: str, file: BinaryIO) -> int:
        """Write what a route answers to a file.

        Returns:
            Its size in bytes.
        """
        size = 0
        response = await self._request("GET", path)
        try:
            if response.status_code != 200:
                raise await self.error_of(response)
            async for piece in self.pieces(response):
                size += file.write(piece)
        except ConnectionLost as error:
            raise self._unreachable(error) from error
        finally:
            await response.aclose()
        return size

    async def open(
        self, method: str, path: str, headers: Mapping[str, str], content: bytes | None = None
    ) -> httpx.Response:
        """Make a request; the answer's body is not read yet and has to be closed.

        Raises:
            NotConnected: Nothing of it was sent.
            ConnectionLost: No answer came.
        """
        request = self._http.build_request(
            method, self.server + path, headers=dict(headers), content=content
        )
        try:
            return await self._http.send(request, stream=True)
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise NotConnected(_words(error)) from error
        except httpx.TransportError as error:
            raise ConnectionLost(_words(error)) from error

    async def pieces(self, response: httpx.Response) -> AsyncGenerator[bytes]:
        """The body of an answer as it comes.

        Raises:
            ConnectionLost: It breaks off.
        """
        try:
            async for piece in response.aiter_raw():
                yield piece
        except httpx.TransportError as error:
            raise ConnectionLost(_words(error)) from error

    async def error_of(self, response: httpx.Response) -> ServerError:
        """The error an answer stands for.

        Raises:
            ConnectionLost: It breaks off.
        """
        status = response.status_code
        try:
            body = orjson.loads(await self._read(response))
            detail, slug = str(body.get("detail") or body["title"]), str(body["type"])
            return ServerError(status, slug.rpartition("/")[2], detail, body.get("errors", ()))
        except (AttributeError, KeyError, TypeError, ValueError):
            words = f"{self.server} answered {status} {response.reason_phrase}".rstrip()
            return ServerError(status, "", f"{words}, which is no answer of a Poststream server.")

    async def _control(
        self, name: str, task_id: str, last_event_id: int | None, query: str = ""
    ) -> str:
        path = task_path(task_id)
        if last_event_id is None:
            last_event_id = (await self._json("GET", f"{path}/events?limit=1"))["lastEventId"]
        answer = await self._json("POST", f"{path}/{name}?lastEventId={last_event_id}{query}")
        return str(answer["status"])

    async def _json(self, method: str, path: str, content: bytes | None = None) -> Any:
        response = await self._request(method, path, content)
        try:
            if response.status_code == 204:
                return None
            if response.is_success:
                return orjson.loads(await self._read(response))
            raise await self.error_of(response)
        except ConnectionLost as error:
            raise self._unreachable(error) from error
        except orjson.JSONDecodeError:
            words = f"{self.server} sent no JSON, so it is no Poststream server."
            raise ServerError(response.status_code, "", words) from None
        finally:
            await response.aclose()

    async def _request(
        self, method: str, path: str, content: bytes | None = None
    ) -> httpx.Response:
        headers = {} if content is None else {"Content-Type": "application/json"}
        try:
            return await self.open(method, path, headers, content)
        except ConnectionLost as error:
            raise self._unreachable(error) from error

    async def _read(self, response: httpx.Response) -> bytes:
        return b"".join([piece async for piece in self.pieces(response)])

    def _unreachable(self, error: Exception) -> Unreachable:
        return Unreachable(f"{self.server} cannot be reached: {error}")


def _host(server: str) -> str:
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    odd = url.query or url.fragment or any(character.isspace() for character in server)
    if url.scheme not in ("http", "https") or not url.host or odd:
        raise ClientError(f"{server!r} is no address of a server, e.g. http://127.0.0.1:8000.")
    return url.host


def _words(error: Exception) -> str:
    return str(error) or type(error).__name__
