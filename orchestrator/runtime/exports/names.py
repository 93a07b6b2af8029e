"""Names of files that are safe wherever an archive is unpacked.

Names of artifacts are checked when they are saved; here they become paths, beside roles, on the
disks of other people. So nothing is taken for granted: not the length in bytes, not that capitals
tell two names apart.
"""

from __future__ import annotations

import re

MAX_BYTES = 200  # file systems end at 255, and a number may be added

_UNSAFE = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u200e\u200f\u2028-\u202e\u2066-\u2069]')
_HIDDEN = re.compile(r"^[.~ -]+")  # also what some program takes for an option
_DROPPED = re.compile(r"[. ]+$")  # by Windows
_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)


def safe_name(name: str) -> str:
    """A name without folders that every file system takes and that hides nothing."""
    name = _HIDDEN.sub("_", _UNSAFE.sub("_", name.encode("utf-8", "replace").decode()))
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending) > 16:
        stem, dot, ending = name, "", ""
    room = MAX_BYTES - len(f"{dot}{ending}".encode())
    name = stem.encode()[:room].decode("utf-8", "ignore") + dot + ending
    name = _DROPPED.sub("_", name)
    return f"_{name}" if _DEVICE.fullmatch(name) or not name else name


def unique_path(folder: str, name: str, taken: set[str]) -> str:
    """A path in a folder, numbered when it is taken; some file systems ignore case.

    Args:
        folder: Its name, e.g. of an agent.
        name: Of the file.
        taken: Paths that are taken, folded; the new one is added.
    """
    safe = safe_name(name)
    stem, dot, ending = safe.rpartition(".") if "." in safe else (safe, "", "")
    path, number = f"{safe_name(folder)}/{safe}", 1
    while path.casefold() in taken:
        number += 1
        path = f"{safe_name(folder)}/{stem}-{number}{dot}{ending}"
    taken.add(path.casefold())
    return path
