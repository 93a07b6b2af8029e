"""`python -m api.cli` is `poststream`, also where it is not installed."""

from __future__ import annotations

from api.cli import main

main()
