"""Which server a command talks to, and as whom."""

from __future__ import annotations

from pydantic import SecretStr

from api.cli.terminal import usage_error
from orchestrator.settings_base import SettingsBase, setting


class Connection(SettingsBase):
    """`POSTSTREAM_SERVER` and `POSTSTREAM_TOKEN`, from the environment or `.env`."""

    server: str | None = setting(None, "Address of the server commands talk to.")
    token: SecretStr | None = setting(None, "Token they show.", secret=True)


def connection(server: str | None, token: str | None) -> tuple[str, str] | None:
    """The address and the token a command was given.

    Args:
        server: `--server`; empty means no server whatever else is set.
        token: `--token`.

    Returns:
        None when no server is named.

    Raises:
        CommandFailed: There is a server and no token for it.
    """
    found = Connection()
    address = found.server if server is None else server
    if not address:
        return None
    if token is None and found.token is not None:
        token = found.token.get_secret_value()
    if not token:
        raise usage_error(
            f"{address} needs a token: --token or POSTSTREAM_TOKEN. On the machine of the server "
            "`poststream token --sub NAME` makes one."
        )
    return address, token
