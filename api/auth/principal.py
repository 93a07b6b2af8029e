"""The caller of a request and what it may do."""

from __future__ import annotations

from dataclasses import dataclass

from api.errors import MissingScope

READ = "tasks:read"
EXECUTE = "tasks:execute"
ADMIN = "admin"

SCOPES = frozenset({READ, EXECUTE, ADMIN})
"""Every scope there is; what else a token names means nothing here."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller whose token was verified."""

    subject: str
    """``sub`` of the token: the owner of the tasks it starts."""
    scopes: frozenset[str]
    """Those of `SCOPES` that the token carries."""
    expires_at: float
    """Wall time in seconds since 1970; an open stream ends then."""

    def may(self, scope: str) -> bool:
        """Whether the token carries a scope; `ADMIN` includes the others."""
        return scope in self.scopes or ADMIN in self.scopes

    def require(self, scope: str) -> None:
        """Go on only with a scope.

        Raises:
            MissingScope: The token does not carry it.
        """
        if not self.may(scope):
            raise MissingScope(scope)
