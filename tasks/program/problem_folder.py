"""Read what belongs to a problem: regular files inside its folder, links resolved, of limited size.

A problem may come from a stranger. All code that reads a path which a problem names, or a file in its folder, uses the
functions of this module.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path, PurePath

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.files import HIDDEN_REMEDY, is_hidden

MAX_TEXT_BYTES = 4 * 2**20
"""Limit on a text file of a problem, bytes."""

MAX_ENTRIES = 100_000
"""Limit on the files and folders that are visited for one pattern."""

_REMEDY = "All files of a problem must be in its folder; copy the file there."


def locate(folder: Path, name: str) -> Path | None:
    """Return the path of a regular file of a problem, with links resolved; `None` if there is no file, or a folder.

    Raises:
        SpecificationError: If the path is hidden, leads outside of the folder, or is a pipe, a device or the like.
    """
    if not PurePath(name).parts or "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise SpecificationError(f"{name!r} is not below {folder}", remedy=_REMEDY)
    try:
        path, root = (folder / name).resolve(), folder.resolve()
        if not path.is_relative_to(root):
            raise SpecificationError(f"{name!r} is a link to {path}, outside of {folder}", remedy=_REMEDY)
        if is_hidden(PurePath(name)) or is_hidden(path.relative_to(root)):
            raise SpecificationError(f"{name!r} is hidden in {folder}", remedy=HIDDEN_REMEDY)
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:  # pathlib raises a RuntimeError for a circle of links
        raise SpecificationError(f"{name!r} in {folder} cannot be read: {error}", remedy="Make it readable.") from error
    if stat.S_ISDIR(kind):
        return None
    if not stat.S_ISREG(kind):
        raise SpecificationError(f"{name!r} in {folder} is not a regular file", remedy=_REMEDY)
    return path


def has_file(folder: Path, name: str) -> bool:
    """Return whether a problem has a readable file of this name."""
    try:
        return locate(folder, name) is not None
    except SpecificationError:
        return False


def file_names(folder: Path, pattern: str = "*") -> list[str]:
    """Return the names of the readable files directly in a folder, sorted."""
    names = sorted(name for name in os.listdir(folder) if fnmatch.fnmatchcase(name, pattern))
    return [name for name in names if has_file(folder, name)]


def read_bytes(folder: Path, name: str, *, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """Read a file of a problem.

    Raises:
        SpecificationError: If the file is missing, outside of the folder, or too large.
    """
    path = locate(folder, name)
    if path is None:
        raise SpecificationError(f"{folder / name}: No such file", remedy=_REMEDY)
    return _content(path, max_bytes)


def read_text(folder: Path, name: str, *, errors: str = "strict") -> str:
    """Read a text file of a problem; `errors` has the meaning of `bytes.decode`.

    Raises:
        SpecificationError: As in `read_bytes`, and if the content is not UTF-8.
    """
    return _text(read_bytes(folder, name), folder / name, errors)


def contains(folder: Path, name: str, mark: str) -> bool:
    """Return whether a file contains a mark; a file that is too large or not safe to read counts as having none."""
    try:
        return mark.encode() in read_bytes(folder, name)
    except SpecificationError:
        return False


def read_given_text(path: Path) -> str:
    """Read a text file that the user named, which may be a link to anywhere, without a byte order mark at its begin.

    Raises:
        UsageError: If there is no such file.
        SpecificationError: If it is not a regular file, not UTF-8, or too large.
    """
    try:
        real = path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no file {path}", remedy="`overnight problems` lists the built-in problems.") from error
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy="Name another file.") from error
    return _text(_content(real, MAX_TEXT_BYTES), path, "strict").removeprefix("\ufeff")


def matching(folder: Path, pattern: str) -> list[Path]:
    """Find the files and folders that match a pattern, as `Path.glob` does, without leaving the folder.

    Raises:
        SpecificationError: If a link on the way leads outside, or there are too many files and folders to visit.
    """
    parts = [part for part, following in pairwise([*PurePath(pattern).parts, ""]) if (part, following) != ("**", "**")]
    found: list[Path] = []
    for number, (path, is_match) in enumerate(_matching(folder, folder.resolve(), parts)):
        if number > MAX_ENTRIES:
            raise SpecificationError(
                f"searching {folder} for {pattern!r} visits more than {MAX_ENTRIES} files and folders", remedy=_REMEDY
            )
        if is_match:
            found.append(path)
    return list(dict.fromkeys(found))


def _matching(folder: Path, root: Path, parts: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Yield every visited file and folder, and whether it matches."""
    if not parts:
        yield folder, True
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _matching(folder, root, rest)
    for name in _names(folder, root, first):
        path = folder / name
        yield path, False
        if first == "**":
            if path.is_dir() and not path.is_symlink():
                yield from _matching(path, root, parts)
        elif not rest or path.is_dir():
            yield from _matching(path, root, rest)


def _names(folder: Path, root: Path, part: str) -> list[str]:
    """Return the names in a folder that match one part of a pattern, sorted."""
    if not re.search(r"[*?[]", part):
        return [part] if os.path.lexists(folder / part) else []
    real = folder.resolve()
    if not real.is_relative_to(root):
        raise SpecificationError(f"{folder} is a link to {real}, outside of {root}", remedy=_REMEDY)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SpecificationError(f"{folder} cannot be read: {error.strerror}", remedy="Make it readable.") from error
    names = [name for name in names if not name.startswith(".")]
    return names if part == "**" else [name for name in names if fnmatch.fnmatchcase(name, part)]


def _content(path: Path, max_bytes: int) -> bytes:
    """Read a file without following links; never wait for a pipe or a device that has taken its place."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise SpecificationError(f"{path} is not a regular file", remedy=_REMEDY)
            content = file.read(max_bytes + 1) if status.st_size <= max_bytes else b""
    except OSError as error:
        raise SpecificationError(f"{path}: {error.strerror}", remedy="Make it readable.") from error
    if max(status.st_size, len(content)) > max_bytes:
        raise SpecificationError(
            f"{path}: {status.st_size / 2**20:.1f} MiB, expected at most {max_bytes / 2**20:g} MiB",
            remedy="Put data that programs read into `files`, and keep all other files small.",
        )
    return content


def _text(content: bytes, path: Path, errors: str) -> str:
    try:
        text = content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise SpecificationError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start})", remedy="Save the file as UTF-8."
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
