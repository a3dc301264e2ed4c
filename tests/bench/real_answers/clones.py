"""Files of a clone at the commit that was read: from git's objects, so that a bare clone and a work tree do alike.

A file that the clone lacks (a partial clone, a file in large storage) is counted and left out. Nothing of a clone is
run or imported.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

_ENVIRONMENT = {"GIT_NO_LAZY_FETCH": "1", "GIT_OPTIONAL_LOCKS": "0", "GIT_CONFIG_NOSYSTEM": "1"}


class CloneError(Exception):
    """A clone that cannot be read, with the next command."""


@dataclass(frozen=True)
class Clone:
    """A clone of a public repository.

    Attributes:
        path: Its git directory, or the work tree that has one.
        commit: The commit that is read.
        is_pinned: Whether this is the commit that the published figures are of.
    """

    path: Path
    commit: str
    is_pinned: bool

    def names(self, pattern: str) -> list[str]:
        """Return the paths of the files that a pattern matches wholly, sorted."""
        listed = _git(self.path, "ls-tree", "-r", "-z", "--name-only", self.commit).decode("utf-8", "replace")
        matches = re.compile(pattern).fullmatch
        return sorted(name for name in listed.split("\0") if matches(name))

    def read(self, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
        """Yield the text of each file, in order; `None` where the clone lacks it."""
        asked = list(names)
        request = "".join(f"{self.commit}:{name}\n" for name in asked).encode()
        content, place = _git(self.path, "cat-file", "--batch", stdin=request), 0
        for name in asked:
            end = content.index(b"\n", place)
            header, place = content[place:end], end + 1
            if header.endswith(b" missing"):
                yield name, None
                continue
            size = int(header.rsplit(b" ", 1)[1])
            yield name, content[place : place + size].decode("utf-8", "replace")
            place += size + 1


def open_clone(folder: Path, name: str, pinned: str) -> Clone:
    """Return the clone of a repository in a folder, at the pinned commit if it has that, else at its newest one.

    Raises:
        CloneError: If there is no clone.
    """
    path = folder / name.partition("/")[2]
    if not path.exists():
        raise CloneError(f"expected a clone at {path}: git clone https://github.com/{name} {path}")
    try:
        return Clone(path, _git(path, "rev-parse", "--verify", f"{pinned}^{{commit}}").decode().strip(), is_pinned=True)
    except CloneError:
        return Clone(path, _git(path, "rev-parse", "--verify", "HEAD^{commit}").decode().strip(), is_pinned=False)


def _git(path: Path, *arguments: str, stdin: bytes = b"") -> bytes:
    folder = path / ".git" if (path / ".git").exists() else path
    command = ["git", f"--git-dir={folder}", *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, env={**os.environ, **_ENVIRONMENT}, check=False)
    if done.returncode:
        why = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CloneError(f"{path}: expected a git clone; git {arguments[0]} says: {why[0] if why else done.returncode}")
    return done.stdout
