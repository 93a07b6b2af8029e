"""The server log: one renderer for every logger, and one line per request.

Loggers are the standard library's, with facts as ``extra``; so a library that logs needs nothing
of ours. Lines are JSON when nobody watches, else readable. What people wrote (prompts, inputs,
outputs) and what opens doors (tokens, tickets) never reaches a line: suspicious keys are blanked,
and whatever looks like a token is replaced wherever it stands, also inside a traceback.

A line costs time the streams wait for, hence plain functions instead of a chain of processors, and
a way of its own for the lines of `orchestrator.activity`, of which every task writes several.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from api.outlet import outlet_of
from orchestrator import activity
from orchestrator.clock import Timestamps
from orchestrator.events import to_json

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

logger = logging.getLogger(__name__)
log = activity.ActivityLog(__name__).line

_QUIET = ("alembic", "asyncio", "httpcore", "httpx", "uvicorn.access")  # below a warning

_STANDARD = frozenset(
    {*logging.makeLogRecord({}).__dict__, "asctime", "message", "taskName", "color_message"}
)
_SUSPICIOUS = re.compile(
    r"(^|[_-])(authorization|cookie|token|ticket|secret|password|api_?key"
    r"|prompt|description|inputs?|outputs?|content|body)$",
    re.IGNORECASE,
)
_TOKEN = re.compile(
    r"eyJ[\w-]{6,}(?:\.[\w-]*){1,4}"  # what a JWT or JWE looks like
    r"|(?<=[Bb]earer )[^\s\"',]+|(?<=ticket=)[^\s\"'&,]+",
    re.ASCII,
)
_CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")

GATHER_SECONDS = 0.02  # what a crash may cost the log

_timestamps = Timestamps()
_current_request: ContextVar[str] = ContextVar("poststream_request_id")
"""Lines that are written while a request is served say which one."""


def configure_logging(*, json: bool | None = None) -> None:
    """Send every logger's lines to stderr, in the one form of this server.

    Args:
        json: JSON lines or readable ones; None for JSON unless stderr is a terminal.
    """
    if json is None:
        json = not sys.stderr.isatty()
    # What no line shows need not be found out; the logging HOWTO names these switches.
    logging._srcfile = ""
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Formatter(to_json if json else _readable(sys.stderr.isatty())))
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    activity.divert(handler.note if json else None)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)


_Noted = tuple[int, str | None, str, str, dict[str, Any]]
"""A line of activity: when, in nanoseconds since 1970; in which request; logger, message, facts."""


class _Handler(logging.StreamHandler[Any]):
    """Writes the lines of a moment together, which costs a third of one by one.

    Warnings, and whatever is logged outside of a loop, are written at once with all before them.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._records: list[logging.LogRecord | _Noted] = []
        self._timer: asyncio.TimerHandle | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, and see that it is written soon."""
        try:
            if (request_id := _current_request.get(None)) is not None:
                record.request_id = request_id
            self._records.append(record)
            if record.levelno >= logging.WARNING or not self._is_due():
                self.flush()
        except Exception:  # a line that cannot be written must not stop what it tells of
            self.handleError(record)

    def note(self, name: str, message: str, facts: dict[str, Any]) -> None:
        """Keep a line of `orchestrator.activity`."""
        self._records.append((time.time_ns(), _current_request.get(None), name, message, facts))
        if self._timer is None and not self._is_due():
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        self._timer = None
        records, self._records = self._records, []
        if records:
            text = "\n".join([*self._lines(records), ""])
            with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
                self.stream.write(text)
                super().flush()

    def _lines(self, records: list[logging.LogRecord | _Noted]) -> list[str]:
        lines: list[str] = []
        last_ms, start = 0, ""
        for record in records:
            if not isinstance(record, tuple):
                lines.append(self._line(record))
                continue
            at_ns, request_id, name, message, facts = record
            if (ms := at_ns // 1_000_000) != last_ms:  # most are as old as the one before
                last_ms, timestamp = ms, _timestamps.text(ms)
                start = f'{{"timestamp":"{timestamp}","level":"info","message":"'
            try:
                text = to_json(facts)
                if _may_hold_token(text):
                    text = to_json({key: _shown(key, value) for key, value in facts.items()})
            except Exception as error:  # of whoever notes so; the lines beside it are written
                lines.append(self._unwritten(name, logging.INFO, error))
                continue
            end = "}" if request_id is None else f',"request_id":"{request_id}"}}'
            # By hand: these words are ours, and a dict of everything would cost three times this.
            lines.append(f'{start}{message}","logger":"{name}",{text[1:-1]}{end}')
        return lines

    def _line(self, record: logging.LogRecord) -> str:
        try:
            return self.format(record)
        except Exception as error:  # of whoever logs so; the lines beside it are written
            return self._unwritten(record.name, record.levelno, error)

    def _unwritten(self, name: str, level: int, error: Exception) -> str:
        facts = {
            "name": name, "levelno": level, "levelname": logging.getLevelName(level),
            "msg": f"a line could not be written ({type(error).__name__})",
        }  # fmt: skip
        return self.format(logging.makeLogRecord(facts))

    def _is_due(self) -> bool:
        """Whether the running loop will write soon; False without one."""
        if self._timer is not None and not self._timer.cancelled():
            return True
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._timer = loop.call_later(GATHER_SECONDS, self.flush)
        return True


class _Formatter(logging.Formatter):
    def __init__(self, render: Callable[[dict[str, Any]], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        """One record as one line, and a traceback below it when it is for people."""
        facts: dict[str, Any] = {
            "timestamp": _timestamps.text(int(record.created * 1000)),
            "level": record.levelname.lower(),
            "message": hide(record.getMessage()),
            "logger": record.name,
        }
        for key, value in record.__dict__.items():
            if key not in _STANDARD:
                number = value is None or isinstance(value, int | float)
                facts[key] = value if number else _shown(key, value)
        if record.exc_info:
            facts["exception"] = hide(self.formatException(record.exc_info))
        return self._render(facts)


def _readable(colors: bool) -> Callable[[dict[str, Any]], str]:
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors, event_key="message", exception_formatter=structlog.dev.plain_traceback
    )

    def render(facts: dict[str, Any]) -> str:
        for key, value in facts.items():
            if key != "exception" and isinstance(value, str) and not value.isprintable():
                facts[key] = value.translate(_CONTROL)  # nobody forges a line or moves the cursor
        return str(renderer(None, "", facts))

    return render


def hide(text: str) -> str:
    """The text with everything that looks like a token replaced by ``[token]``."""
    return _TOKEN.sub("[token]", text) if _may_hold_token(text) else text


def _may_hold_token(text: str) -> bool:
    # The pattern costs ten times this; and a single character that is rare is found at once.
    return (
        ("J" in text and "eyJ" in text)
        or (" " in text and "earer " in text)
        or ("=" in text and "icket=" in text)
    )


@functools.lru_cache(maxsize=1024)
def _is_suspicious(key: str) -> bool:
    return _SUSPICIOUS.search(key) is not None


def _shown(key: str, value: Any, depth: int = 0) -> Any:
    if _is_suspicious(key):
        return "[hidden]"
    if isinstance(value, dict) and depth < 5:
        return {str(k): _shown(str(k), v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset) and depth < 5:
        return [_shown("", item, depth + 1) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    return hide(value if isinstance(value, str) else str(value))


class RequestLog:
    """Pure ASGI middleware: a request id for everybody below, and one line at the end.

    The id is the client's ``X-Request-Id`` if it is 1 to 64 of ``A-Z a-z 0-9 . _ -``, else a new
    one; it stands in ``scope["state"]["request_id"]`` and in the response.

    Args:
        app: The application below.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        # Unique by counting; asking the operating system each time costs more than the rest.
        self._prefix = secrets.token_hex(5)
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _given_id(scope) or f"{self._prefix}{next(self._numbers):06x}"
        scope.setdefault("state", {})["request_id"] = request_id
        _current_request.set(request_id)
        outlet, send = outlet_of(scope, send)
        outlet.extra = ((b"x-request-id", request_id.encode()),)
        started = time.perf_counter()
        status: int | None = None
        try:
            await self.app(scope, receive, send)
        except Exception:  # only for the line: 500, unless the answer has begun
            status = 500
            raise
        finally:
            seconds = time.perf_counter() - started
            _log_request(scope, outlet.status or status, outlet.sent, seconds)


def _given_id(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return None


def _log_request(scope: Scope, status: int | None, sent: int, seconds: float) -> None:
    client = scope.get("client")
    facts = {
        "method": scope["method"],
        "path": scope["path"],
        "status": status,  # None: the client left before there was an answer
        "duration_ms": int(seconds * 10_000 + 0.5) / 10,
        "bytes": sent,
        "client": client[0] if client else None,
    }
    if status is not None and status >= 500:
        logger.error("request", extra=facts)
    else:
        log("request", facts)
