from __future__ import annotations

from typing import Any

import pytest

from api.auth import Principal
from api.errors import MissingScope
from tests.api.auth.forging import AUDIENCE, ISSUER, NOW, authenticator, bearer, good, refused

ACCEPTED: dict[str, tuple[dict[str, Any], set[str]]] = {
    "one scope": ({"scope": "tasks:read"}, {"tasks:read"}),
    "several scopes": ({"scope": "tasks:read  admin"}, {"tasks:read", "admin"}),
    "list of scopes": ({"scope": ["tasks:execute", "admin"]}, {"tasks:execute", "admin"}),
    "no scope": ({"scope": ...}, set()),
    "empty scope": ({"scope": ""}, set()),
    "empty list": ({"scope": []}, set()),
    "unknown scopes": ({"scope": "root ADMIN tasks:* tasks:read"}, {"tasks:read"}),
    "scopes under another name": ({"scope": ..., "scopes": "admin", "scp": ["admin"]}, set()),
    "list of audiences": ({"aud": ["other", AUDIENCE]}, {"tasks:read"}),
    "already valid": ({"nbf": NOW}, {"tasks:read"}),
    "clock a little behind": ({"nbf": NOW + 5, "iat": NOW + 60}, {"tasks:read"}),
    "fractions": ({"exp": NOW + 59.5, "iat": NOW - 0.5}, {"tasks:read"}),
    "one second left": ({"exp": NOW + 1}, {"tasks:read"}),
    "the end of time": ({"exp": 253_402_300_799}, {"tasks:read"}),
    "blank inside the subject": ({"sub": "CN=Jane Doe"}, {"tasks:read"}),
    "subject of another script": ({"sub": "\u0436\u00fc\u4e2d"}, {"tasks:read"}),
    "longest subject": ({"sub": "x" * 255}, {"tasks:read"}),
    "other claims": ({"jti": "1", "realm_access": {"roles": [["x"]]}}, {"tasks:read"}),
}

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "no exp": ({"exp": ...}, "no exp"),
    "exp past": ({"exp": NOW - 1}, "expired"),
    "exp now": ({"exp": NOW}, "expired"),
    "exp just past": ({"exp": NOW - 0.001}, "expired"),
    "exp long past": ({"exp": 0}, "expired"),
    "exp text": ({"exp": str(NOW + 60)}, "exp"),
    "exp date": ({"exp": "2099-01-01T00:00:00Z"}, "exp"),
    "exp null": ({"exp": None}, "exp"),
    "exp true": ({"exp": True}, "exp"),
    "exp list": ({"exp": [NOW + 60]}, "exp"),
    "exp object": ({"exp": {}}, "exp"),
    "exp negative": ({"exp": -1}, "exp"),
    "exp in milliseconds": ({"exp": (NOW + 60) * 1000}, "exp"),
    "exp beyond the calendar": ({"exp": 1e300}, "exp"),
    "exp beyond year 9999": ({"exp": 253_402_300_800}, "exp"),
    "nbf future": ({"nbf": NOW + 6}, "not valid yet"),
    "nbf far future": ({"nbf": NOW + 86_400}, "not valid yet"),
    "nbf text": ({"nbf": "0"}, "nbf"),
    "nbf null": ({"nbf": None}, "nbf"),
    "iat future": ({"iat": NOW + 61}, "future"),
    "iat text": ({"iat": "now"}, "iat"),
    "iat false": ({"iat": False}, "iat"),
    "no iss": ({"iss": ...}, "issuer"),
    "iss other": ({"iss": "https://evil.example"}, "issuer"),
    "iss longer": ({"iss": ISSUER + "/"}, "issuer"),
    "iss capitals": ({"iss": ISSUER.upper()}, "issuer"),
    "iss list": ({"iss": [ISSUER]}, "issuer"),
    "iss null": ({"iss": None}, "issuer"),
    "no aud": ({"aud": ...}, "audience"),
    "aud other": ({"aud": "other"}, "audience"),
    "aud empty": ({"aud": ""}, "audience"),
    "aud longer": ({"aud": AUDIENCE + "x"}, "audience"),
    "aud shorter": ({"aud": AUDIENCE[:-1]}, "audience"),
    "aud several in one": ({"aud": f"{AUDIENCE} other"}, "audience"),
    "aud empty list": ({"aud": []}, "audience"),
    "aud list of others": ({"aud": ["a", "b"]}, "audience"),
    "aud odd list": ({"aud": [AUDIENCE, 1]}, "aud"),
    "aud list of lists": ({"aud": [[AUDIENCE]]}, "aud"),
    "aud number": ({"aud": 1}, "aud"),
    "aud null": ({"aud": None}, "aud"),
    "aud object": ({"aud": {AUDIENCE: True}}, "aud"),
    "no sub": ({"sub": ...}, "sub"),
    "sub empty": ({"sub": ""}, "sub"),
    "sub blank": ({"sub": " "}, "sub"),
    "sub blank before": ({"sub": " alice"}, "sub"),
    "sub blank behind": ({"sub": "alice "}, "sub"),
    "sub number": ({"sub": 0}, "sub"),
    "sub true": ({"sub": True}, "sub"),
    "sub null": ({"sub": None}, "sub"),
    "sub list": ({"sub": ["alice"]}, "sub"),
    "sub object": ({"sub": {"name": "alice"}}, "sub"),
    "sub too long": ({"sub": "x" * 256}, "sub"),
    "sub NUL": ({"sub": "alice\x00"}, "sub"),
    "sub newline": ({"sub": "alice\nbob"}, "sub"),
    "sub escape": ({"sub": "\x1b[31m"}, "sub"),
    "sub no-break space": ({"sub": "alice\u00a0x"}, "sub"),
    "sub zero width": ({"sub": "ali\u200bce"}, "sub"),
    "sub right to left": ({"sub": "alice\u202eecila"}, "sub"),
    "sub line separator": ({"sub": "alice\u2028x"}, "sub"),
    "scope number": ({"scope": 1}, "scope"),
    "scope true": ({"scope": True}, "scope"),
    "scope null": ({"scope": None}, "scope"),
    "scope object": ({"scope": {"admin": True}}, "scope"),
    "scope odd list": ({"scope": ["tasks:read", 1]}, "scope"),
    "scope nested list": ({"scope": [["admin"]]}, "scope"),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_claims_that_fit_name_a_principal(name: str) -> None:
    changes, scopes = ACCEPTED[name]
    found = authenticator().authenticate(bearer(good(**changes)), b"")
    assert found.subject == changes.get("sub", "alice")
    assert found.scopes == scopes
    assert found.expires_at == changes.get("exp", NOW + 60)


@pytest.mark.parametrize("name", REFUSED)
def test_claims_that_do_not_fit_are_named(name: str) -> None:
    changes, word = REFUSED[name]
    challenge, words = refused(authenticator(), bearer(good(**changes)))
    assert challenge == b'Bearer error="invalid_token"'
    assert word in words


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [
        ((), ()),
        (("tasks:read",), ("tasks:read",)),
        (("tasks:execute",), ("tasks:execute",)),
        (("tasks:read", "tasks:execute"), ("tasks:read", "tasks:execute")),
        (("admin",), ("tasks:read", "tasks:execute", "admin")),
    ],
)
def test_admin_includes_the_others_and_nothing_else_does(
    scopes: tuple[str, ...], allowed: tuple[str, ...]
) -> None:
    principal = Principal("alice", frozenset(scopes), NOW)
    for scope in ("tasks:read", "tasks:execute", "admin"):
        assert principal.may(scope) == (scope in allowed)
        if scope in allowed:
            principal.require(scope)
        else:
            with pytest.raises(MissingScope, match=scope):
                principal.require(scope)
