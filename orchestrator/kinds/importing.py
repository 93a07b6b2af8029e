"""Import paths: ``module:Name`` as agents.toml writes them."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any


class MissingPackage(Exception):
    """Raised when a module needs a package that is not installed."""

    def __init__(self, package: str) -> None:
        super().__init__(f"the Python package `{package}` is not installed")
        self.package = package


def load_object(import_path: str, *, folder: Path) -> Any:
    """What ``module:Name`` names, e.g. ``code_review.history:History``.

    `folder` goes to the end of the import path and stays there, so that modules in it can be
    imported later too and shadow nothing that is installed.

    Raises:
        ValueError: It is no such path, or there is no such module or name.
        MissingPackage: The module is there, what it imports is not.
    """
    module_name, separator, name = import_path.partition(":")
    if not separator or not module_name or not name:
        raise ValueError(f'{import_path!r} is no import path; it is written "module:Name"')
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing = error.name or module_name
        if missing == module_name or module_name.startswith(f"{missing}."):
            raise ValueError(
                f"there is no module {missing!r} in {folder} or among the installed packages"
            ) from None
        raise MissingPackage(missing.partition(".")[0]) from error
    except Exception as error:  # importing runs code of somebody else
        raise ValueError(
            f"{module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    _refuse_namesake(module_name.partition(".")[0], folder)
    try:
        return getattr(module, name)
    except AttributeError:
        raise ValueError(f"the module {module_name!r} has no {name!r}") from None


def _refuse_namesake(package: str, folder: Path) -> None:
    """Without this a module of the folder would silently stand behind an installed one."""
    own = [folder / package / "__init__.py", folder / f"{package}.py"]
    loaded = getattr(sys.modules[package], "__file__", None)
    names = [path.resolve() for path in own if path.exists()]
    if names and loaded is not None and Path(loaded).resolve() not in names:
        raise ValueError(
            f"the module {package!r} of {folder} has the name of one that is loaded already "
            f"({loaded}); rename it"
        )
