"""The version that is installed."""

from __future__ import annotations

DISTRIBUTION = "poststream"


def installed_version() -> str:
    """The version that is installed; ``unknown`` in a checkout that is not."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(DISTRIBUTION)
    except PackageNotFoundError:
        return "unknown"
