"""What a wheel must hold, and a try of it in an environment that has nothing else.

``python -m tests.project.wheel dist/poststream-0.1.0-py3-none-any.whl`` installs it into a clean
environment, away from the checkout, and calls its command.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("api", "orchestrator")


def source_files() -> set[str]:
    """Every file of the packages in this checkout, as paths from its root."""
    return {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def problems(wheel: Path) -> list[str]:
    """What is wrong with the content of a wheel; empty when nothing is."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        entry_points = "".join(
            archive.read(name).decode() for name in names if name.endswith("/entry_points.txt")
        )
    found = [f"{name} is missing" for name in sorted(source_files() - names)]
    strange = {name.partition("/")[0] for name in names if ".dist-info/" not in name}
    found += [f"{name} does not belong there" for name in sorted(strange - set(PACKAGES))]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        found.append("the license is missing")
    if "poststream = api.cli:main" not in entry_points:
        found.append("the command poststream is missing")
    return found


def try_it(wheel: Path) -> None:
    """Install a wheel into a clean environment and call its command.

    Raises:
        SystemExit: It cannot be installed, or the command does not work.
    """
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python, poststream = f"{folder}/bin/python", f"{folder}/bin/poststream"
        constraints = ROOT / "constraints.txt"
        install = ["pip", "install", "--quiet", "-c", str(constraints), str(wheel.resolve())]
        for command in (
            [python, "-m", *install],
            [python, "-c", "import orchestrator, api.app, api.cli"],
            [poststream, "version"],
        ):
            run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if run.returncode != 0:
                raise SystemExit(f"{' '.join(command)}\n{run.stdout}{run.stderr}")


def main() -> int:
    """Check the wheel named on the command line; 1 when it is not as it should be."""
    wheel = Path(sys.argv[1])
    found = problems(wheel)
    for problem in found:
        print(f"{wheel.name}: {problem}", file=sys.stderr)
    if not found:
        try_it(wheel)
    return bool(found)


if __name__ == "__main__":
    sys.exit(main())
