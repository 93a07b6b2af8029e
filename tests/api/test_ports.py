"""Who holds a port."""

from __future__ import annotations

import os
import socket
import sys

import pytest

from api.ports import free_port, holder_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


@linux
@pytest.mark.parametrize(
    ("family", "host"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")]
)
def test_the_holder_is_named_with_its_command(family: socket.AddressFamily, host: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((host, 0))
        listener.listen()
        holder = holder_of(listener.getsockname()[1])
    assert holder.startswith(f"process {os.getpid()} (")
    assert "pytest" in holder
    assert len(holder) < 120


@linux
def test_who_only_connects_is_no_holder() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with socket.create_connection(listener.getsockname()) as client:
            assert holder_of(client.getsockname()[1]) == "another process"


def test_the_next_free_port_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        free = free_port("127.0.0.1", after=port - 1)
        assert free > port
        with socket.socket() as other:
            other.bind(("127.0.0.1", free))
    assert free_port("127.0.0.1", after=65535) == 65535
