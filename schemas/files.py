"""Files that belong to a problem and go into its sandbox, read-only: data, helper modules, what scores a program."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from schemas.errors import SpecificationError

MOST_BYTES = 256 * 2**20
"""Of all files of a problem together: every run keeps a copy of them."""

_REMEDY = "`files` names files, folders or patterns such as *.csv, from the folder of the specification."


@dataclass(frozen=True)
class File:
    """One file.

    Attributes:
        path: Where it is, from the specification's folder, with slashes.
        content: Its bytes.
    """

    path: str
    content: bytes = field(repr=False)

    @cached_property
    def hash(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()


def read_files(folder: Path, patterns: Sequence[str]) -> tuple[File, ...]:
    """The files that the patterns name, by path.

    Args:
        folder: Where the specification is.
        patterns: Files, folders (all in them that is not hidden), or patterns of both.

    Raises:
        SpecificationError: If one names nothing or something outside of the folder, or all are too large.
    """
    folder = folder.resolve()
    found = {_name(path, folder): path for pattern in patterns for path in _named(pattern, folder)}
    sizes = {name: path.stat().st_size for name, path in found.items()}
    if sum(sizes.values()) > MOST_BYTES:
        largest = max(sizes, key=lambda name: sizes[name])
        raise SpecificationError(
            f"files: {sum(sizes.values()) / 2**20:.0f} MiB together, at most {MOST_BYTES // 2**20} MiB are taken; "
            f"the largest is {largest} with {sizes[largest] / 2**20:.0f} MiB",
            remedy="Leave out what programs do not need, or put it into an image of your own: --set sandbox.image=NAME",
        )
    return tuple(File(name, _content(found[name])) for name in sorted(found))


def changed_files(folder: Path, files: Iterable[File]) -> list[str]:
    """Paths of the files that are not in the folder any more as they are here."""
    return [file.path for file in files if not _is_the_same(folder / file.path, file)]


def _is_the_same(path: Path, file: File) -> bool:
    try:
        return path.read_bytes() == file.content
    except OSError:
        return False


def _named(pattern: str, folder: Path) -> Iterator[Path]:
    """The files that one pattern names."""
    if Path(pattern).is_absolute() or ".." in Path(pattern).parts or not Path(pattern).parts:
        raise SpecificationError(f"files: {pattern!r} is not below {folder}", remedy=_REMEDY)
    exact = folder / pattern
    paths = [exact] if exact.exists() else sorted(folder.glob(pattern))
    files = [file for path in paths for file in (_in_folder(path) if path.is_dir() else [path]) if file.is_file()]
    if not files:
        raise SpecificationError(f"files: no {pattern!r} in {folder}", remedy=_REMEDY)
    yield from files


def _in_folder(folder: Path) -> list[Path]:
    """All files of a folder but what is hidden or compiled from others."""
    return [
        path
        for path in sorted(folder.rglob("*"))
        if not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(folder).parts)
    ]


def _name(path: Path, folder: Path) -> str:
    name = path.relative_to(folder).as_posix()
    if not path.resolve().is_relative_to(folder):
        raise SpecificationError(f"files: {name!r} leads to {path.resolve()}, outside of {folder}", remedy=_REMEDY)
    if not name.isprintable():
        raise SpecificationError(f"files: {name!r} is no name that can be written down", remedy="Rename it.")
    return name


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SpecificationError(f"files: {path}: {error.strerror}", remedy="Make it readable.") from error
