"""The application: puts the server together, and nothing else.

`create_app` returns a Starlette application. Served alone it needs nothing more. Mounted in
another one, the host enters `running(app)` in its own lifespan, since a mounted application's
lifespan is not run:

    async def lifespan(host):
        async with running(poststream):
            yield

uvicorn reaches a lifespan's end only after all connections are closed. So a host calls `drain(app)`
when it is told to stop, as `api.server` does, or sets `timeout_graceful_shutdown`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from api.alerts import alerting
from api.auth import (
    TICKET_KEY_NAME,
    AuthConfig,
    Authenticator,
    Tickets,
    load_or_create_secret,
)  # fmt: skip
from api.components import Components
from api.cors import CorsPolicy
from api.errors import NotFound
from api.framing import FramingGuard
from api.logs import RequestLog
from api.places import Places
from api.problems import send_problem
from api.redaction import Redaction
from api.routes import make_routes
from api.settings import Settings
from api.streaming import Streams
from orchestrator.agents import AgentRegistry
from orchestrator.clock import Clock
from orchestrator.errors import StorageError
from orchestrator.runtime.assembly import open_service
from orchestrator.runtime.service import TaskService


class _ShortCut:
    """Finds routes without parameters by their path; the router tries one pattern after another.

    Args:
        router: Asked for everything else, and for everything when the application is mounted.
    """

    def __init__(self, router: Router) -> None:
        self._router = router
        self._apps = {
            route.path: route.app
            for route in router.routes
            if isinstance(route, Route) and "{" not in route.path
        }

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        """Serve one request."""
        app = self._apps.get(scope["path"]) if scope["type"] == "http" else None
        if app is None or scope.get("root_path"):
            app = self._router
        return app(scope, receive, send)


class Application(Starlette):
    """A Starlette application without Starlette's own error middleware.

    Endpoints answer their errors themselves, and two wrappers around every `send` are the price
    of a whole event.
    """

    def build_middleware_stack(self) -> ASGIApp:
        """The user's middleware around the router."""
        app: ASGIApp = _ShortCut(self.router)
        for middleware in reversed(self.user_middleware):
            app = middleware.cls(app, *middleware.args, **middleware.kwargs)
        return app


def create_app(
    settings: Settings,
    registry: AgentRegistry,
    *,
    clock: Clock | None = None,
    at: Callable[[str], None] = lambda _: None,
    on_fatal: Callable[[StorageError], None] = lambda _: None,
) -> Starlette:
    """Make the application.

    Args:
        settings: Everything it needs to know.
        registry: The agents it offers.
        clock: Time and chance.
        at: Called at each crash point, for tests.
        on_fatal: Called when nothing can be stored any more.

    Raises:
        SettingsError: Keys and algorithm do not fit together.
    """
    clock = clock or Clock()

    def wall_seconds() -> float:
        return clock.wall_ms() / 1000

    authenticator = Authenticator(auth_config(settings), wall_seconds=wall_seconds)
    running_parts: list[Components] = []

    def components() -> Components:
        if not running_parts:
            raise RuntimeError("the application's lifespan has not begun; see api.app.running")
        return running_parts[-1]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        redact = Redaction(settings)
        async with (
            alerting(settings.alert_webhook_url) as alert,
            open_service(
                settings, registry, clock=clock, at=at, on_fatal=on_fatal, redact=redact,
                alert=alert,
            ) as service,
        ):  # fmt: skip
            streams = Streams(
                keepalive_seconds=settings.keepalive_seconds,
                places=Places(
                    most=settings.max_streams, most_per_owner=settings.max_streams_per_owner
                ),
                wall_seconds=wall_seconds,
            )
            service.sharing.watch(streams.keep_readers)

            async def ticket_key(make: bool) -> bytes | None:
                return await service.signing_key(TICKET_KEY_NAME, make=make)

            running_parts.append(
                Components(
                    settings=settings,
                    authenticator=authenticator,
                    tickets=Tickets(ticket_key, wall_seconds=wall_seconds),
                    streams=streams,
                    service=service,
                )
            )
            app.state.components = running_parts[-1]
            keys = asyncio.create_task(authenticator.keep_keys_fresh())
            try:
                yield
            finally:
                keys.cancel()
                streams.close()
                running_parts.pop()

    app = Application(
        routes=make_routes(components),
        middleware=[
            *_cors(settings),  # around every answer
            Middleware(RequestLog),
            Middleware(FramingGuard),
        ],
        lifespan=lifespan,
    )
    app.router.default = _not_found
    app.router.redirect_slashes = False
    return app


@contextlib.asynccontextmanager
async def running(app: Starlette) -> AsyncIterator[TaskService]:
    """Run a mounted application: enter this in the lifespan of the host.

    Yields:
        The service, with which the host's own routes can submit tasks.
    """
    async with app.router.lifespan_context(app):
        yield app.state.components.service


async def drain(app: Starlette, seconds: float) -> None:
    """Take no new tasks, give running ones some time, hand the rest back, end all streams.

    Args:
        app: A running application.
        seconds: How long running tasks may take.
    """
    components: Components = app.state.components
    await components.service.drain(seconds)
    components.streams.close()


def auth_config(settings: Settings) -> AuthConfig:
    """What tokens are checked against; makes a secret in the data folder if there is none."""
    secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret else None
    key_file: Path | None = settings.jwt_public_key_file
    if secret is None and settings.algorithm == "HS256":
        secret = load_or_create_secret(settings.data_dir)
    return AuthConfig(
        algorithm=settings.algorithm,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        secret=secret if settings.algorithm == "HS256" else None,
        public_key_pem=None if key_file is None else key_file.read_text(),
        jwks_url=settings.jwks_url,
    )


def _cors(settings: Settings) -> list[Middleware]:
    origins = settings.cors_origins
    return [Middleware(CorsPolicy, origins=origins)] if origins else []


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send_problem(NotFound(), scope, receive, send)
