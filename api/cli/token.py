"""`poststream token`."""

from __future__ import annotations

from typing import Annotated

import typer

from api.cli.terminal import print_data, print_json, usage_error


def command(
    sub: Annotated[
        str,
        typer.Option(metavar="SUBJECT", help="Whom it names: the owner of the tasks it starts."),
    ],
    scope: Annotated[
        str,
        typer.Option(metavar="SCOPES", help="What it allows: tasks:read, tasks:execute, admin."),
    ] = "tasks:read tasks:execute",
    ttl: Annotated[
        str, typer.Option(metavar="TIME", help="How long it is valid, e.g. 30m, 12h, 7d.")
    ] = "1d",
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print a token for the API, signed with this server's secret."""
    from api.auth.principal import SCOPES
    from api.cli.durations import seconds_of
    from api.cli.signing import sign
    from api.settings import Settings
    from api.subjects import MAX_CHARACTERS, is_subject
    from orchestrator.clock import Clock, iso

    scopes = scope.replace(",", " ").split()
    if unknown := sorted(set(scopes) - SCOPES):
        raise usage_error(
            f"--scope {unknown[0]}: there is no such scope; there are {', '.join(sorted(SCOPES))}."
        )
    if not is_subject(sub):
        raise usage_error(f"--sub must be 1 to {MAX_CHARACTERS} visible characters.")
    ttl_seconds = int(seconds_of(ttl, "--ttl")) or 1
    now = Clock().wall_ms() // 1000
    made = sign(Settings(), subject=sub, scopes=scopes, ttl_seconds=ttl_seconds, issued_at=now)
    if made is None:
        raise usage_error(
            "This server checks tokens with a public key; whoever holds the private one makes them."
        )
    if json:
        expires = iso((now + ttl_seconds) * 1000)
        print_json({"token": made, "sub": sub, "scope": " ".join(scopes), "expiresAt": expires})
    else:
        print_data(made)
