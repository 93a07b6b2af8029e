"""What the routes share: made once by `api.app`, handed to every endpoint."""

from __future__ import annotations

from dataclasses import dataclass

from api.auth import Authenticator, Tickets
from api.settings import Settings
from api.streaming import Streams
from orchestrator.runtime.service import TaskService


@dataclass(slots=True, kw_only=True)
class Components:
    """The parts of a running server."""

    settings: Settings
    authenticator: Authenticator
    tickets: Tickets
    streams: Streams
    service: TaskService
