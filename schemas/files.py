"""The files of a problem that its sandbox holds, read-only: data, helper modules, scoring scripts."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath, PurePosixPath

from overnight.schemas.errors import SpecificationError

MAX_FILES = 10_000
"""Limit on the number of files of a problem."""

_MAX_PATH_BYTES, _MAX_NAME_BYTES = 1024, 255

FILES_REMEDY = "`files` names files, folders or patterns such as *.csv, relative to the folder of the specification."

HIDDEN_REMEDY = (
    "Hidden files, such as keys and settings in a home folder, are never part of a problem. Give the file another name."
)


@dataclass(frozen=True)
class File:
    """A file of a problem.

    Attributes:
        path: Path relative to the specification's folder, with slashes and in its shortest form, so that the file stays
            inside of any folder that it is written to.
        content: Content of the file.

    Raises:
        SpecificationError: If the path has another form.
    """

    path: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _is_safe(self.path):
            raise SpecificationError(
                f"files: {self.path[:_MAX_NAME_BYTES]!r} is not a path inside of a problem's folder",
                remedy="Rename the file: its path must be relative, without `..`, and of printable characters.",
            )

    @cached_property
    def hash(self) -> str:
        return hashlib.sha256(self.content).hexdigest()


def _is_safe(path: str) -> bool:
    names = path.split("/")
    return (
        path.isprintable()
        and "\\" not in path
        and len(path.encode()) <= _MAX_PATH_BYTES
        and all(name not in ("", ".", "..") and len(name.encode()) <= _MAX_NAME_BYTES for name in names)
    )


def require_distinct(files: Sequence[File]) -> None:
    """Raise a SpecificationError if files cannot be written to one folder."""
    require_few(len(files))
    paths = [file.path for file in files]
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    for path, count in Counter(paths).items():
        if count > 1 or path in folders:
            fault = "is there twice" if count > 1 else "is a file and a folder"
            raise SpecificationError(f"files: {path!r} {fault}", remedy="Rename one of the two.")


def require_few(count: int) -> None:
    if count > MAX_FILES:
        raise SpecificationError(f"files: got {count} files, expected at most {MAX_FILES}", remedy=FILES_REMEDY)


def is_hidden(path: PurePath) -> bool:
    """Return whether a part of a path begins with a dot."""
    return any(part.startswith(".") for part in path.parts)
