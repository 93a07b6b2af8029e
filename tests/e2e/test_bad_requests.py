"""Bad requests and tokens: the answer that is listed, nothing stored, nothing of ours shown."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest

from tests.e2e.client import Answer, Client, Headers, end_frame, frames, task
from tests.e2e.serving import caller, token
from tests.grammar import check_log
from tests.server import SECRET, ServerProcess

pytestmark = pytest.mark.e2e

GHOST = "00000000-0000-4000-8000-000000000000"
STREAM = "/api/agents/execute/stream"
RUNNER = "/api/task-runner"
JOBS = "/api/jobs"
OLD = "/api/v2/agent"
GOOD = task({"agent": "scripted-1", "texts": ["a"]})
LEAKS = (
    b"Traceback",
    str(Path(__file__).parents[2]).encode(),
    b"site-packages",
    b"sqlite",
    b".py",
    b"Exception",
    SECRET.encode(),
)


class Bad(NamedTuple):
    """A request, and how it must be answered."""

    name: str
    status: int
    slug: str
    body: Any = GOOD
    method: str = "POST"
    path: str = STREAM
    headers: Headers = ()


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(header: Any, claims: Any, *, secret: str = SECRET, digest: Any = hashlib.sha256) -> str:
    """A token made by hand; header and claims as values or as their text."""
    parts = [x if isinstance(x, bytes) else orjson.dumps(x) for x in (header, claims)]
    text = ".".join(map(b64, parts))
    return f"{text}.{b64(hmac.new(secret.encode(), text.encode(), digest).digest())}"


def tokens() -> list[Bad]:
    """Group A: everything that is no token of ours."""
    now = int(time.time())
    header = {"alg": "HS256", "typ": "JWT"}
    claims = {
        "iss": "poststream",
        "aud": "poststream",
        "sub": "mallory",
        "scope": "tasks:read tasks:execute admin",
        "iat": now,
        "exp": now + 600,
    }
    good = signed(header, claims)
    head, payload, signature = good.split(".")

    def without(name: str) -> dict[str, Any]:
        return {key: value for key, value in claims.items() if key != name}

    made = {
        "stripped": f"{head}.{payload}.",
        "two parts": f"{head}.{payload}",
        "four parts": f"{good}.x",
        "junk behind": f"{good}!!",
        "padding": f"{good}=",
        "swapped claims": f"{head}.{b64(orjson.dumps({**claims, 'sub': 'root'}))}.{signature}",
        "other secret": signed(header, claims, secret="x" * 40),
        "empty secret": signed(header, claims, secret=""),
        "none": f"{b64(orjson.dumps({'alg': 'none'}))}.{payload}.",
        "None signed": signed({"alg": "None"}, claims),
        "HS512": signed({"alg": "HS512"}, claims, digest=hashlib.sha512),
        "HS384": signed({"alg": "HS384"}, claims, digest=hashlib.sha384),
        "RS256 by name": signed({"alg": "RS256"}, claims),
        "ES256 by name": signed({"alg": "ES256"}, claims),
        "no alg": signed({"typ": "JWT"}, claims),
        "alg list": signed({"alg": ["HS256"]}, claims),
        "crit": signed({**header, "crit": ["x"]}, claims),
        "b64": signed({**header, "b64": False}, claims),
        "jku": signed({**header, "jku": "http://127.0.0.1/k"}, claims),
        "x5u": signed({**header, "x5u": "http://127.0.0.1/k"}, claims),
        "jwk": signed({**header, "jwk": {"kty": "oct", "k": ""}}, claims),
        "x5c": signed({**header, "x5c": ["x"]}, claims),
        "cty": signed({**header, "cty": "JWT"}, claims),
        "enc": signed({"alg": "dir", "enc": "A256GCM"}, claims),
        "zip": signed({**header, "zip": "DEF"}, claims),
        "kid number": signed({**header, "kid": 1}, claims),
        "kid huge": signed({**header, "kid": "x" * 4000}, claims),
        "header list": signed([], claims),
        "claims list": signed(header, []),
        "claims text": signed(header, "x"),
        "claims null": signed(header, None),
        "expired": signed(header, {**claims, "exp": now - 1}),
        "no exp": signed(header, without("exp")),
        "exp text": signed(header, {**claims, "exp": str(now + 600)}),
        "exp true": signed(header, {**claims, "exp": True}),
        "exp infinite": signed(header, orjson.dumps(claims).replace(b"%d" % (now + 600), b"1e999")),
        "exp huge": signed(header, {**claims, "exp": 10**18}),
        "exp zero": signed(header, {**claims, "exp": 0}),
        "exp negative": signed(header, {**claims, "exp": -1}),
        "nbf later": signed(header, {**claims, "nbf": now + 600}),
        "iat later": signed(header, {**claims, "iat": now + 6000}),
        "no iss": signed(header, without("iss")),
        "other iss": signed(header, {**claims, "iss": "x"}),
        "no aud": signed(header, without("aud")),
        "other aud": signed(header, {**claims, "aud": "x"}),
        "aud list of others": signed(header, {**claims, "aud": ["x"]}),
        "no sub": signed(header, without("sub")),
        "empty sub": signed(header, {**claims, "sub": ""}),
        "sub number": signed(header, {**claims, "sub": 1}),
        "sub null": signed(header, {**claims, "sub": None}),
        "sub line": signed(header, {**claims, "sub": "a\nb"}),
        "sub long": signed(header, {**claims, "sub": "x" * 300}),
        "twice": signed(header, orjson.dumps(claims)[:-1] + b',"sub":"root"}'),
        "deep header": f"{b64(b'[' * 2000 + b']' * 2000)}.{payload}.{signature}",
        "deep claims": signed(header, b"[" * 2000 + b"]" * 2000),
        "no JSON": signed(b"{", b"{"),
        "bad UTF-8": signed(header, b'{"sub":"\xff"}'),
        "9 KB": signed(header, {**claims, "x": "y" * 9000}),
        "empty parts": "..",
        "one dot": ".",
        "words": "not a token",
        "quoted": f'"{good}"',
        "twice in one": f"{good},{good}",
        "url": "http://127.0.0.1/token",
        "zero bytes": "A" * 100,
    }
    rows = [
        Bad(f"token {n}", 401, "unauthorized", headers=[("Authorization", f"Bearer {t}")])
        for n, t in made.items()
    ]
    odd = [None, "", "Bearer", "Bearer ", "bearer", good, f"Token {good}", f"Basic {good}"]
    odd += [f"Bearer: {good}", f"Bearer,{good}", f"Bearer\t{good}"]
    for value in odd:
        name = f"header {value!r:.20}"
        rows += [Bad(name, 401, "unauthorized", headers=[("Authorization", value)])]
    both = [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")]
    rows.append(Bad("header twice", 401, "unauthorized", headers=both))
    rows.append(
        Bad(
            "token of 40 KB",
            431,
            "header-too-large",
            headers=[("Authorization", "Bearer " + "x" * 40_000)],
        )
    )
    rows.append(
        Bad(
            "no scope",
            403,
            "forbidden",
            headers=[("Authorization", "Bearer " + signed(header, without("scope")))],
        )
    )
    return rows


def with_(**fields: Any) -> dict[str, Any]:
    return {**GOOD, **fields}


JSON = orjson.dumps(GOOD)
INVALID: dict[str, Any] = {
    "list": [],
    "text": "x",
    "number": 1,
    "null": b"null",
    "true": True,
    "empty object": {},
    "no description": {"selectedAgents": ["scripted-1"]},
    "empty description": with_(description=""),
    "description number": with_(description=1),
    "description list": with_(description=["x"]),
    "NUL in description": with_(description="a\x00"),
    "NUL in title": with_(title="\x00"),
    "long description": with_(description="x" * 200_001),
    "long title": with_(title="x" * 201),
    "no agents": {"description": "x"},
    "zero agents": with_(selectedAgents=[]),
    "agent twice": with_(selectedAgents=["scripted-1", "scripted-1"]),
    "unknown agent": with_(selectedAgents=["nobody"]),
    "unavailable agent": with_(selectedAgents=["missing"]),
    "10,000 agents": with_(selectedAgents=[f"a{n}" for n in range(10_000)]),
    "agent path": with_(selectedAgents=["../x"]),
    "agent object": with_(selectedAgents=[{}]),
    "agents text": with_(selectedAgents="scripted-1"),
    "agent empty": with_(selectedAgents=[""]),
    "unknown mode": with_(executionMode="fast"),
    "mode list": with_(executionMode=["parallel"]),
    "unknown provider": with_(provider="nobody"),
    "provider URL": with_(provider="http://169.254.169.254/"),
    "inputs list": with_(inputs=[]),
    "inputs text": with_(inputs="x"),
    "timeout zero": with_(timeoutSeconds=0),
    "timeout negative": with_(timeoutSeconds=-1),
    "timeout text": with_(timeoutSeconds="1"),
    "timeout true": with_(timeoutSeconds=True),
    "timeout for ever": with_(timeoutSeconds=1e12),
    "maxParallel zero": with_(maxParallel=0),
    "maxParallel float": with_(maxParallel=1.5),
    "priority 11": with_(priority=11),
    "priority text": with_(priority="1"),
    "onRestart": with_(onRestart="maybe"),
    "onAgentError": with_(onAgentError="ignore"),
    "dependsOn not a graph": with_(dependsOn={}),
    "dependsOn unknown": with_(executionMode="graph", dependsOn={"scripted-1": ["x"]}),
    "dependsOn circle": with_(executionMode="graph", dependsOn={"scripted-1": ["scripted-1"]}),
    "after nobody": with_(after=[GHOST]),
    "after text": with_(after="x"),
    "budget unknown": with_(budget={"euros": 1}),
    "budget negative": with_(budget={"tokens": -1}),
    "metadata 17": with_(metadata={str(n): "x" for n in range(17)}),
    "metadata number": with_(metadata={"a": 1}),
    "metadata long": with_(metadata={"a": "x" * 513}),
    "jobType": with_(jobType="other"),
    "unknown field": with_(foo=1),
    "owner": with_(owner="root"),
    "taskId": with_(taskId="x"),
    "status": with_(status="completed"),
    "snake case": with_(execution_mode="parallel"),
    "__proto__": with_(__proto__={"admin": True}),
    "constructor": with_(constructor={}),
    "callback URL": with_(callbackUrl="http://127.0.0.1:1/"),
    "webhook": with_(webhook="http://[::1]/"),
    "command": with_(command=["sh"]),
    "scope": with_(scope="admin"),
}
NO_JSON: dict[str, bytes] = {
    "empty": b"",
    "blank": b"  ",
    "half": JSON[:-1],
    "twice": JSON + JSON,
    "behind": JSON + b"x",
    "single quotes": b"{'description': 'x'}",
    "comma": JSON[:-1] + b",}",
    "comment": b"/**/" + JSON,
    "NaN": JSON[:-1] + b',"timeoutSeconds":NaN}',
    "Infinity": JSON[:-1] + b',"timeoutSeconds":Infinity}',
    "1e999": JSON[:-1] + b',"timeoutSeconds":1e999}',
    "BOM": b"\xef\xbb\xbf" + JSON,
    "UTF-16": JSON.decode().encode("utf-16"),
    "bad UTF-8": JSON.replace(b"a test", b"\xff\xfe"),
    "overlong": JSON.replace(b"a test", b"\xc0\xaf"),
    "surrogate": JSON.replace(b"a test", b"\\ud800"),
    "surrogate in a name": JSON[:-1] + b',"\\udfff":1}',
    "raw surrogate": JSON.replace(b"a test", b"\xed\xa0\x80"),
    "name twice": JSON[:-1] + b',"description":"y"}',
    "name twice escaped": JSON[:-1] + b',"d\\u0065scription":"y"}',
    "name twice inside": JSON[:-1] + b',"metadata":{"a":"1","a":"2"}}',
    "line end in a text": JSON.replace(b"a test", b"a\ntest"),
    "NUL": JSON.replace(b"a test", b"\x00"),
    "NUL behind": JSON + b"\x00",
    "5,000 digits": JSON[:-1] + b',"priority":' + b"9" * 5000 + b"}",
    "20 digits": JSON[:-1] + b',"priority":' + b"9" * 20 + b"}",
    "depth 2,000": b"[" * 2000 + b"]" * 2000,
    "depth 100,000": b"[" * 100_000 + b"]" * 100_000,
    "objects 100,000 deep": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "only opened": b"[" * 100_000,
    "leading zero": JSON[:-1] + b',"priority":01}',
    "hex": JSON[:-1] + b',"priority":0x1}',
    "depth 65 in inputs": orjson.dumps(with_(inputs={"a": None})).replace(
        b"null", b"[" * 65 + b"]" * 65
    ),
}
TYPES: list[str | None] = [
    None,
    "",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "application/xml",
    "application/octet-stream",
    "application/x-python-pickle",
    "text/json",
    "application/jsonl",
    "application/json; charset=utf-7",
    "application/json; charset=latin-1",
    "application/json, text/plain",
    "application/json; charset=utf-8; x=y",
    "application/jsonp",
    "application/problem+json",
]


SHARES: dict[str, Any] = {
    "nothing": {},
    "null": {"subjects": None},
    "word": {"subjects": "all"},
    "number": {"subjects": 1},
    "object": {"subjects": {"sub": "bob"}},
    "numbers": {"subjects": [1]},
    "empty subject": {"subjects": [""]},
    "blank": {"subjects": ["bob "]},
    "line": {"subjects": ["a\nb"]},
    "NUL": {"subjects": ["a\x00"]},
    "right to left": {"subjects": ["a\u202eb"]},
    "long": {"subjects": ["x" * 256]},
    "101": {"subjects": [str(n) for n in range(101)]},
    "owner": {"subjects": [], "owner": "mallory"},
    "list": ["bob"],
}
TICKETS: dict[str, Any] = {
    "nothing": {},
    "both": {"taskId": GHOST, "runnerLog": True},
    "no log": {"runnerLog": False},
    "log text": {"runnerLog": "true"},
    "number": {"taskId": 1},
    "empty": {"taskId": ""},
    "long": {"taskId": "x" * 65},
    "list": {"taskId": [GHOST]},
    "lasting": {"taskId": GHOST, "expiresAt": "2100-01-01T00:00:00Z"},
}


def rows() -> list[Bad]:
    """The table."""
    found = tokens()
    found += [Bad(f"invalid {n}", 422, "invalid-request", body) for n, body in INVALID.items()]
    found += [Bad(f"no JSON {n}", 400, "invalid-json", body) for n, body in NO_JSON.items()]
    found += [
        Bad(f"type {t}", 415, "unsupported-media-type", JSON, headers=[("Content-Type", t)])
        for t in TYPES
    ]
    for coding in ("gzip", "deflate", "br", "gzip, identity"):
        headers = [("Content-Encoding", coding)]
        found.append(Bad(f"coding {coding}", 415, "unsupported-media-type", JSON, headers=headers))
    found += [
        Bad(
            "two types",
            415,
            "unsupported-media-type",
            headers=[("Content-Type", "application/json")] * 2,
        ),
        Bad("too large", 413, "payload-too-large", b'{"description":"' + b"x" * 1_100_000 + b'"}'),
        Bad(
            "huge by name",
            413,
            "payload-too-large",
            b"",
            headers=[("Content-Length", "10485760000")],
        ),
        Bad("long target", 414, "uri-too-long", None, "GET", "/api/tasks?q=" + "x" * 9000),
        Bad("large header", 431, "header-too-large", headers=[("X-A", "x" * 33_000)]),
        Bad("two hosts", 400, "bad-request", headers=[("Host", "a"), ("Host", "b")]),
        Bad("no host", 400, "bad-request", headers=[("Host", None)]),
        Bad("odd host", 400, "bad-request", headers=[("Host", "a b")]),
        Bad(
            "override",
            405,
            "method-not-allowed",
            None,
            "GET",
            STREAM,
            [("X-HTTP-Method-Override", "POST")],
        ),
        Bad("history", 400, "invalid-parameter", None, "GET", f"{JOBS}/history?limit=201"),
        Bad("history offset", 400, "invalid-parameter", None, "GET", f"{JOBS}/history?offset=-1"),
        Bad("history status", 400, "invalid-parameter", None, "GET", f"{JOBS}/history?status=x"),
        Bad("history type", 400, "invalid-parameter", None, "GET", f"{JOBS}/history?jobType=x"),
        Bad(
            "history archived",
            400,
            "invalid-parameter",
            None,
            "GET",
            f"{JOBS}/history?archived=maybe",
        ),
        Bad("history owner", 400, "invalid-parameter", None, "GET", f"{JOBS}/history?owner=bob"),
        Bad("history of all", 403, "forbidden", None, "GET", f"{JOBS}/history?scope=all"),
        Bad("stats days", 400, "invalid-parameter", None, "GET", f"{JOBS}/stats?days=0"),
        Bad("stats group", 400, "invalid-parameter", None, "GET", f"{JOBS}/stats?groupBy=owner"),
        Bad("stats twice", 400, "invalid-parameter", None, "GET", f"{JOBS}/stats?days=1&days=2"),
        Bad("cleanup nothing", 422, "invalid-request", {}, path=f"{JOBS}/cleanup"),
        Bad("cleanup mode", 422, "invalid-request", {"mode": "burn"}, path=f"{JOBS}/cleanup"),
        Bad(
            "cleanup age",
            422,
            "invalid-request",
            {"mode": "delete", "olderThanDays": -1},
            path=f"{JOBS}/cleanup",
        ),
        Bad(
            "cleanup word",
            422,
            "invalid-request",
            {"mode": "delete", "olderThanDays": "1"},
            path=f"{JOBS}/cleanup",
        ),
        Bad(
            "cleanup owner",
            422,
            "invalid-request",
            {"mode": "delete", "owner": "bob"},
            path=f"{JOBS}/cleanup",
        ),
        Bad(
            "cleanup of all",
            403,
            "forbidden",
            {"mode": "delete", "allOwners": True},
            path=f"{JOBS}/cleanup",
        ),
        Bad("cleanup list", 422, "invalid-request", [], path=f"{JOBS}/cleanup"),
        Bad("cleanup without body", 415, "unsupported-media-type", None, path=f"{JOBS}/cleanup"),
        Bad("reset", 403, "forbidden", None, path="/api/agents/reset-state"),
        Bad("old start", 422, "invalid-request", {"selectedAgents": []}, path=f"{OLD}/start"),
        Bad(
            "old agents",
            422,
            "invalid-request",
            {"selected_agents": ["nobody"]},
            path=f"{OLD}/start",
        ),
        Bad("old type", 422, "invalid-request", {"job_type": "x"}, path=f"{OLD}/start"),
        Bad("old stop", 422, "invalid-request", {"task_id": 1}, path=f"{OLD}/stop"),
        Bad(
            "old history",
            400,
            "invalid-parameter",
            None,
            "GET",
            "/api/v2/jobs/history?status=completed",
        ),
        Bad(
            "old cleanup", 422, "invalid-request", {"days_to_keep": -1}, path="/api/v2/jobs/cleanup"
        ),
        Bad("old reset", 403, "forbidden", None, path="/api/agent/reset-state"),
        Bad("log", 400, "invalid-last-event-id", None, "GET", f"{RUNNER}/logs?after=x"),
        Bad(
            "log cursor",
            400,
            "invalid-last-event-id",
            None,
            "GET",
            f"{RUNNER}/logs",
            [("Last-Event-ID", "1.5")],
        ),
        Bad("start", 403, "forbidden", None, path=f"{RUNNER}/start"),
        Bad("get start", 405, "method-not-allowed", None, "GET", f"{RUNNER}/start"),
        Bad("head of the log", 405, "method-not-allowed", None, "DELETE", f"{RUNNER}/logs"),
        Bad("TRACE", 405, "method-not-allowed", None, "TRACE"),
        Bad("PATCH", 405, "method-not-allowed", GOOD, "PATCH", "/api/tasks"),
    ]
    for cursor in ("-1", "9" * 40, "1_0", "\u0661", "0x1", "abc"):
        found.append(
            Bad(
                f"cursor {cursor}",
                400,
                "invalid-last-event-id",
                headers=[("Last-Event-ID", cursor)],
            )
        )
    shares, tickets = f"/api/tasks/{GHOST}/shares", "/api/stream-tickets"
    for name, shared in SHARES.items():
        found.append(Bad(f"shares {name}", 422, "invalid-request", shared, "PUT", shares))
    for name, wish in TICKETS.items():
        found.append(Bad(f"ticket {name}", 422, "invalid-request", wish, "POST", tickets))
    nobody = {"subjects": ["bob"]}
    found += [
        Bad("shares of nobody", 404, "not-found", nobody, "PUT", shares),
        Bad("shares no JSON", 400, "invalid-json", b"{", "PUT", shares),
        Bad("shares by POST", 405, "method-not-allowed", nobody, "POST", shares),
        Bad("shares as text", 415, "unsupported-media-type", b"{}", "PUT", shares,
            [("Content-Type", "text/plain")]),
        Bad("ticket no JSON", 400, "invalid-json", b"", "POST", tickets),
        Bad("ticket by GET", 405, "method-not-allowed", None, "GET", tickets),
        Bad("ticket for nobody", 404, "not-found", {"taskId": GHOST}, "POST", tickets),
        Bad("scope of nobody", 400, "invalid-parameter", None, "GET", "/api/tasks?scope=theirs"),
    ]  # fmt: skip
    for query in ("format=pdf", "format=ZIP", "format=md&format=zip", "format=%ff"):
        export = f"/api/tasks/{GHOST}/export?{query}"
        found.append(Bad(f"export {query}", 400, "invalid-parameter", None, "GET", export))
    found.append(Bad("metrics", 403, "forbidden", None, "GET", "/metrics"))
    export = f"/api/tasks/{GHOST}/export"
    found.append(Bad("export of nobody", 404, "not-found", None, "GET", export))
    found.append(Bad("export by POST", 405, "method-not-allowed", None, "POST", export))
    for ticket in ("", "x", "x.y", "." * 3, "A" * 5000, "eyJhbGciOiJub25lIn0.e30."):
        stream = f"/api/tasks/{GHOST}/stream?ticket={ticket}"
        found.append(Bad(f"ticket {ticket:.9}", 401, "unauthorized", None, "GET", stream))
        elsewhere = f"/api/tasks?ticket={ticket}"
        found.append(Bad(f"misplaced {ticket:.9}", 401, "unauthorized", None, "GET", elsewhere))
    for name in ("cancel", "pause", "resume", "retry"):
        path = f"/api/tasks/{GHOST}/{name}"
        for cursor in ("-1", "1.0", "x", "9" * 19, "%D9%A1", "1&lastEventId=1"):
            found.append(
                Bad(
                    f"{name} {cursor}",
                    400,
                    "invalid-last-event-id",
                    None,
                    path=f"{path}?lastEventId={cursor}",
                )
            )
        found.append(Bad(f"{name} by GET", 405, "method-not-allowed", None, "GET", path))
        found.append(Bad(f"{name} of nobody", 404, "not-found", None, path=path))
        late = f"{path}?lasteventid=1"  # would act without the guard
        found.append(Bad(f"{name} misspelt", 400, "invalid-parameter", None, path=late))
    late = f"/api/tasks/{GHOST}?last_event_id=1"
    found.append(Bad("delete misspelt", 400, "invalid-parameter", None, "DELETE", late))
    for query in ("mode=soon", "mode=NOW", "mode=now&mode=now", "mode=%ff"):
        path = f"/api/tasks/{GHOST}/pause?{query}"
        found.append(Bad(f"pause {query}", 400, "invalid-parameter", None, path=path))
    for path in (
        "/.env",
        "/tasks.db",
        "/.git/HEAD",
        "/api/tasks/%00",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/api/tasks/..%2f..%2f",
        "/<script>alert(1)</script>",
        "/api/tasks/'--",
        "/api/tasks/%ff",
    ):
        found.append(Bad(f"path {path}", 404, "not-found", None, "GET", path))
    return found


def assert_answered(bad: Bad, answer: Answer) -> None:
    """The listed answer, as a problem document without internals."""
    assert answer.status == bad.status, (bad.name, answer)
    assert answer.header("content-type") == "application/problem+json", bad.name
    document = answer.json()
    assert document["status"] == bad.status, bad.name
    assert answer.slug == bad.slug, bad.name
    assert document.keys() <= {"type", "title", "status", "detail", "instance", "errors"}, bad.name
    assert (bad.slug == "invalid-request") == ("errors" in document), bad.name
    for error in document.get("errors", ()):
        assert error["pointer"] == "" or error["pointer"].startswith("/"), bad.name
        assert error["detail"], bad.name
    assert answer.header("cache-control") == "no-store", bad.name
    assert answer.header("x-content-type-options") == "nosniff", bad.name
    assert len(answer.body) < 10_000, bad.name
    for leak in LEAKS:
        assert leak not in answer.body, (bad.name, answer.body)
    if bad.status == 401:
        assert str(answer.header("www-authenticate")).startswith("Bearer"), bad.name


def test_the_table_is_long_enough() -> None:
    names = [bad.name for bad in rows()]
    assert len(names) >= 250
    assert len(set(names)) == len(names)


async def test_every_bad_request_is_answered_as_listed_and_leaves_no_trace(
    server: ServerProcess, alice: Client, tmp_path: Path
) -> None:
    slow = task({"agent": "scripted-1", "repeat": 1000, "delay": 0.01, "nonce": True})
    root = caller(server, "root", "admin")
    async with alice.open("POST", STREAM, slow) as running:
        await running.read_until(lambda body: b"00000000" in body)
        before = await root.get("/api/tasks?scope=all&limit=200")
        for bad in rows():
            for path in {bad.path, "/api/tasks" if bad.path == STREAM else bad.path}:
                if bad.method == "PATCH" or (path == "/api/tasks" and bad.method != "POST"):
                    path = bad.path
                answer = await alice.call(bad.method, path, bad.body, headers=bad.headers)
                assert_answered(bad, answer)
        after = await root.get("/api/tasks?scope=all&limit=200")
        assert [entry["taskId"] for entry in after["tasks"]] == [
            entry["taskId"] for entry in before["tasks"]
        ], "something was stored"
        task_id = str(running.header("x-task-id"))
        assert await alice.status(task_id) == "running"
        await alice.call("POST", f"/api/tasks/{task_id}/cancel")
        body = await running.read_to_end()
    assert end_frame(body) is not None, "a stream beside it was not touched"
    check_log([frame.data for frame in frames(body)])
    assert (await Client(server.port).get("/readyz"))["status"] == "ok"


async def test_good_spellings_of_a_token_are_accepted(server: ServerProcess) -> None:
    good = token("erin")
    for value in (f"Bearer {good}", f"bearer {good}", f"BEARER {good}", f"Bearer   {good}"):
        stranger = Client(server.port)
        answer = await stranger.call("GET", "/api/tasks", headers=[("Authorization", value)])
        assert answer.status == 200, value
