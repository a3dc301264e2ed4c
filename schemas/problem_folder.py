"""Read what belongs to a problem: regular files inside its folder, links resolved, of limited size.

A problem may come from a stranger. Every path that it names, and every file that is looked for in its folder, is read
by the functions of this module and no other.
"""

from __future__ import annotations

import fnmatch
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from schemas.errors import SpecificationError, UsageError

MOST_TEXT_BYTES = 4 * 2**20
"""Limit on a text file of a problem, in bytes."""

MOST_ENTRIES = 100_000
"""Limit on the files and folders that are looked at for one pattern."""

_HIDDEN_REMEDY = (
    "Hidden files are a person's, such as keys and settings in a home, and never a problem's. Give it another name."
)
_REMEDY = "Files of a problem lie in its folder; copy what it needs there."


def locate(folder: Path, name: str) -> Path | None:
    """Find a regular file of a problem; links may lead to others inside the folder.

    Args:
        folder: The problem's.
        name: The file's path from there.

    Returns:
        Where the file is, without links; `None` where there is none, or a folder.

    Raises:
        SpecificationError: If it leads outside, or to a pipe, a device or the like.
    """
    if not PurePath(name).parts or "\0" in name or PurePath(name).is_absolute() or ".." in PurePath(name).parts:
        raise SpecificationError(f"{name!r} is not below {folder}", remedy=_REMEDY)
    try:
        path, root = (folder / name).resolve(), folder.resolve()
        if not path.is_relative_to(root):
            raise SpecificationError(f"{name!r} leads to {path}, outside of {folder}", remedy=_REMEDY)
        if _is_hidden(PurePath(name)) or _is_hidden(path.relative_to(root)):
            raise SpecificationError(f"{name!r} is hidden in {folder}", remedy=_HIDDEN_REMEDY)
        kind = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, RuntimeError) as error:  # pathlib calls a circle of links a RuntimeError
        raise SpecificationError(f"{name!r} in {folder} cannot be read: {error}", remedy="Mend it.") from error
    if stat.S_ISDIR(kind):
        return None
    if not stat.S_ISREG(kind):
        raise SpecificationError(f"{name!r} in {folder} is no regular file", remedy=_REMEDY)
    return path


def _is_hidden(path: PurePath) -> bool:
    return any(part.startswith(".") for part in path.parts)


def has_file(folder: Path, name: str) -> bool:
    """Return whether a problem has a file that may be read."""
    try:
        return locate(folder, name) is not None
    except SpecificationError:
        return False


def file_names(folder: Path, pattern: str = "*") -> list[str]:
    """Return the names of the files directly in a folder that may be read, sorted."""
    names = sorted(name for name in os.listdir(folder) if fnmatch.fnmatchcase(name, pattern))
    return [name for name in names if has_file(folder, name)]


def read_bytes(folder: Path, name: str, *, most_bytes: int = MOST_TEXT_BYTES) -> bytes:
    """Read a file of a problem.

    Args:
        folder: The problem's.
        name: The file's path from there.
        most_bytes: Limit on its size.

    Raises:
        SpecificationError: If there is none, it leads outside, or is too large.
    """
    path = locate(folder, name)
    if path is None:
        raise SpecificationError(f"{folder / name}: No such file", remedy=_REMEDY)
    return _content(path, most_bytes)


def read_text(folder: Path, name: str, *, errors: str = "strict") -> str:
    """Read a text file of a problem; `errors` is as of `bytes.decode`.

    Raises:
        SpecificationError: As by `read_bytes`, and if it is no text.
    """
    return _text(read_bytes(folder, name), folder / name, errors)


def read_given_text(path: Path) -> str:
    """Read the text file that a user has named; that one may be a link to anywhere.

    Raises:
        UsageError: If there is none.
        SpecificationError: If it is no regular file, no text, or too large.
    """
    try:
        real = path.resolve(strict=True)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no file {path}", remedy="`overnight problems` lists the built-in ones.") from error
    except (OSError, RuntimeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", remedy="Name another file.") from error
    return _text(_content(real, MOST_TEXT_BYTES), path, "strict")


def matching(folder: Path, pattern: str) -> list[Path]:
    """Find the files and folders that a pattern names, as `Path.glob` does, and never look outside of the folder.

    Raises:
        SpecificationError: If a link on the way leads outside, or there is too much to look at.
    """
    parts = [part for part, after in _pairs(PurePath(pattern).parts) if (part, after) != ("**", "**")]
    found: list[Path] = []
    for number, (path, is_match) in enumerate(_matching(folder, folder.resolve(), parts)):
        if number > MOST_ENTRIES:
            raise SpecificationError(
                f"{pattern!r} has more than {MOST_ENTRIES} files and folders of {folder} looked at", remedy=_REMEDY
            )
        found += [path] * is_match
    return list(dict.fromkeys(found))


def _pairs(parts: Sequence[str]) -> Iterator[tuple[str, str]]:
    return zip(parts, [*parts[1:], ""], strict=True)


def _matching(folder: Path, root: Path, parts: Sequence[str]) -> Iterator[tuple[Path, bool]]:
    """Yield all that is looked at, and whether it matches."""
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
    """Return what one part of a pattern names in a folder, sorted."""
    if not re.search(r"[*?[]", part):
        return [part] if os.path.lexists(folder / part) else []
    real = folder.resolve()
    if not real.is_relative_to(root):
        raise SpecificationError(f"{folder} leads to {real}, outside of {root}", remedy=_REMEDY)
    try:
        names = sorted(os.listdir(folder))
    except OSError as error:
        raise SpecificationError(f"{folder} cannot be read: {error.strerror}", remedy="Make it readable.") from error
    names = [name for name in names if not name.startswith(".")]
    return names if part == "**" else [name for name in names if fnmatch.fnmatchcase(name, part)]


def _content(path: Path, most_bytes: int) -> bytes:
    """Read a file without links; neither a pipe nor a device that has taken its place is waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SpecificationError(f"{path} is no regular file", remedy=_REMEDY)
            content = file.read(most_bytes + 1) if found.st_size <= most_bytes else b""
    except OSError as error:
        raise SpecificationError(f"{path}: {error.strerror}", remedy="Make it readable.") from error
    if max(found.st_size, len(content)) > most_bytes:
        raise SpecificationError(
            f"{path}: {found.st_size / 2**20:.1f} MiB, at most {most_bytes / 2**20:g} MiB are read",
            remedy="Put data that programs read into `files`, and keep the rest small.",
        )
    return content


def _text(content: bytes, path: Path, errors: str) -> str:
    try:
        text = content.decode("utf-8", errors)
    except UnicodeDecodeError as error:
        raise SpecificationError(f"{path}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
