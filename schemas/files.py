"""Files that belong to a problem and go into its sandbox, read-only: data, helper modules, what scores a program."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

from schemas import problem_folder
from schemas.errors import SpecificationError

MOST_BYTES = 256 * 2**20
"""Of all files of a problem together: every run keeps a copy of them."""

MOST_FILES = 10_000
"""Of a problem."""

_MOST_PATH_BYTES, _MOST_NAME_BYTES = 1024, 255

_REMEDY = "`files` names files, folders or patterns such as *.csv, from the folder of the specification."


@dataclass(frozen=True)
class File:
    """One file.

    Attributes:
        path: Where it is, from the specification's folder, with slashes. It is relative and in its shortest form, so
            that it stays inside of any folder that the file is written to.
        content: Its bytes.

    Raises:
        SpecificationError: If its path is another.
    """

    path: str
    content: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not _is_safe(self.path):
            raise SpecificationError(
                f"files: {self.path[:_MOST_NAME_BYTES]!r} is no path inside of a problem's folder",
                remedy="A path is relative, without `..`, and of characters that can be written down; rename the file.",
            )

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def _is_safe(path: str) -> bool:
    names = path.split("/")
    return (
        path.isprintable()
        and "\\" not in path
        and len(path.encode()) <= _MOST_PATH_BYTES
        and all(name not in ("", ".", "..") and len(name.encode()) <= _MOST_NAME_BYTES for name in names)
    )


def require_distinct(files: Sequence[File]) -> None:
    """Check that files can lie side by side in one folder.

    Raises:
        SpecificationError: If two have one path, one is a folder of another, or they are too many.
    """
    if len(files) > MOST_FILES:
        raise SpecificationError(f"files: {len(files)} of them, at most {MOST_FILES} are taken", remedy=_REMEDY)
    paths = [file.path for file in files]
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents}
    for path, count in Counter(paths).items():
        if count > 1 or path in folders:
            how = "is there twice" if count > 1 else "is a file and a folder"
            raise SpecificationError(f"files: {path!r} {how}", remedy="Rename one of the two.")


def read_files(folder: Path, patterns: Sequence[str]) -> tuple[File, ...]:
    """The files that the patterns name, by path.

    Args:
        folder: Where the specification is.
        patterns: Files, folders (all in them that is not hidden), or patterns of both.

    Raises:
        SpecificationError: If one names nothing or something outside of the folder, or all are too large.
    """
    folder = folder.resolve()
    found = dict.fromkeys(name for pattern in patterns for name in _named(pattern, folder))
    if len(found) > MOST_FILES:
        raise SpecificationError(f"files: {len(found)} of them, at most {MOST_FILES} are taken", remedy=_REMEDY)
    sizes = {name: (folder / name).stat().st_size for name in found}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise SpecificationError(
            f"files: {sum(sizes.values()) / 2**20:.0f} MiB together, at most {MOST_BYTES // 2**20} MiB are taken; "
            f"the largest is {largest} with {sizes[largest] / 2**20:.0f} MiB",
            remedy="Leave out what programs do not need, or put it into an image of your own: --set sandbox.image=NAME",
        )
    return tuple(File(name, problem_folder.read_bytes(folder, name, most_bytes=sizes[name])) for name in sorted(found))


def changed_files(folder: Path, files: Iterable[File]) -> list[str]:
    """Paths of the files that are not in the folder any more as they are here."""
    return [file.path for file in files if not _is_the_same(folder, file)]


def _is_the_same(folder: Path, file: File) -> bool:
    try:
        return problem_folder.read_bytes(folder, file.path, most_bytes=len(file.content)) == file.content
    except SpecificationError:
        return False


def _named(pattern: str, folder: Path) -> Iterator[str]:
    """The files that one pattern names, from the folder."""
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or not Path(pattern).parts or "\0" in pattern:
        raise SpecificationError(f"files: {pattern!r} is not below {folder}", remedy=_REMEDY)
    exact = folder / pattern
    paths = [exact] if os.path.lexists(exact) else problem_folder.matching(folder, pattern)
    names = [name for path in paths for name in _files_at(path, folder)]
    if not names:
        raise SpecificationError(f"files: no {pattern!r} in {folder}", remedy=_REMEDY)
    yield from names


def _files_at(path: Path, folder: Path) -> Iterator[str]:
    """A file itself; of a folder, all files that are neither hidden nor compiled from others."""
    name = path.relative_to(folder).as_posix()
    if not path.is_dir():
        if path.is_file() or path.is_symlink():
            yield from _readable(name, folder)
        return
    if not path.resolve().is_relative_to(folder):
        raise SpecificationError(f"files: {name!r} leads to {path.resolve()}, outside of {folder}", remedy=_REMEDY)
    for below in problem_folder.matching(path.resolve(), "**/*"):
        parts = below.relative_to(path.resolve()).parts
        if below.is_file() and not any(part.startswith(".") or part == "__pycache__" for part in parts):
            yield from _readable("/".join((name, *parts) if name != "." else parts), folder)


def _readable(name: str, folder: Path) -> Iterator[str]:
    if not name.isprintable():
        raise SpecificationError(f"files: {name!r} is no name that can be written down", remedy="Rename it.")
    if problem_folder.locate(folder, name) is not None:
        yield name
