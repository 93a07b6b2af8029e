"""What commands say, where they say it, and the status they leave with.

Data goes to stdout, talk to stderr; so whatever a command prints can be piped on.
"""

from __future__ import annotations

import re
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

PROGRAM = "poststream"
NO_AGENTS = "There are no agents: POSTSTREAM_AGENTS_FILE names the file that declares them."


class Status(IntEnum):
    """Exit statuses of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2  # wrong options, settings or agents file
    CANCELLED = 3
    REFUSED = 4  # the server cannot be reached, or it said no
    INTERRUPTED = 130  # Ctrl-C


class CommandFailed(Exception):
    """Ends a command.

    Args:
        message: A sentence for stderr; empty when everything is said.
        status: Exit status.
    """

    def __init__(self, message: str = "", status: Status = Status.FAILED) -> None:
        super().__init__(message)
        self.status = status


def usage_error(message: str) -> CommandFailed:
    """The error for options that make no sense."""
    return CommandFailed(message, Status.USAGE)


def say(text: str) -> None:
    """Print talk: what people want to know and programs do not."""
    print(text, file=sys.stderr, flush=True)


def complain(text: str) -> None:
    """Print what went wrong."""
    say(f"{PROGRAM}: {clean(text)}")


def print_data(text: str) -> None:
    """Print a line of what the command is for, at once."""
    print(text, flush=True)


def print_json(value: Any) -> None:
    """Print a value as one line of JSON."""
    import orjson

    print_line(orjson.dumps(value))


def print_line(data: bytes) -> None:
    """Print a line of bytes at once: JSON is UTF-8 whatever the terminal is."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data + b"\n")
    sys.stdout.buffer.flush()


def make_console(*, wide: bool = False) -> Console:
    """A console on stdout: without colours when it is no terminal, or NO_COLOR is set.

    Args:
        wide: Do not fold lines when it is no terminal: programs read them.
    """
    from rich.console import Console

    plain = not sys.stdout.isatty()
    return Console(
        highlight=False, markup=False, emoji=False, width=1000 if plain and wide else None
    )


_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def clean(text: str) -> str:
    """The text without characters that move the cursor or change colours.

    What agents write may come from anywhere, and a terminal obeys whatever it is shown.
    """
    return _CONTROL.sub(lambda found: f"\\x{ord(found[0]):02x}", text.replace("\r\n", "\n"))


def one_line(text: str) -> str:
    """The text cleaned, on one line."""
    return " ".join(clean(text).split())
