"""A history backend: each commit is copied to a second directory, say on another disk, before it becomes visible.

`--history "copied:///fast/history?copy=/safe/history"` uses it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

from overnight.schemas.errors import UsageError
from overnight.tasks.history.atomic_files import disk_errors
from overnight.tasks.history.files import files_of
from overnight.tasks.history.local_backend import LocalBackend


@dataclass(frozen=True)
class CopiedBackend(LocalBackend):
    """Backend of a directory with a copy. Completions that are not committed yet are in the first directory only.

    Attributes:
        copy: The second directory, a history that can be read and resumed by itself.
    """

    copy: Path

    @property
    def location(self) -> str:
        """URL of the history."""
        return f"copied://{self.root}?{urlencode({'copy': self.copy})}"

    @property
    def absolute_location(self) -> str:
        """URL of the history; both directories are absolute."""
        return self.location

    def put_file(self, path: Path, content: Path) -> None:
        """Copy a file."""
        super().put_file(path, content)
        self._copy(path, content)

    def put_folder(self, path: Path, content: Path, names: Sequence[str]) -> bool:
        """Copy a folder of generations."""
        self._copy(path, content)
        return False

    def put_run(self, run: Path, content: Path) -> None:
        """Copy a run."""
        self._copy(run, content)

    def remove_merged(self, run: Path) -> None:
        """Remove copied folders that a block contains."""
        copied = files_of(LocalBackend(self.copy), run.name)
        for name in set(copied.folders()) - {block.folder.name for block in copied.blocks()}:
            shutil.rmtree(copied.generations / name)

    def _copy(self, path: Path, content: Path) -> None:
        target = self.copy / path.relative_to(self.root)
        part = self.copy / f".copying.{os.getpid()}"
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            if content.is_file():
                shutil.copy2(content, part)
            else:
                shutil.rmtree(part, ignore_errors=True)
                shutil.copytree(content, part)
                shutil.rmtree(target, ignore_errors=True)  # of a process that was killed before its commit
            os.replace(part, target)


def open_backend(location: str) -> CopiedBackend:
    """Return the backend of `copied://DIRECTORY?copy=DIRECTORY`, with absolute paths."""
    parts = urlsplit(location)
    copy = parse_qs(parts.query).get("copy", [""])[0]
    if not (parts.path.startswith("/") and copy.startswith("/")) or parts.netloc:
        raise UsageError(f"{location} does not name two directories", remedy="copied:///DIRECTORY?copy=/DIRECTORY")
    return CopiedBackend(Path(parts.path), Path(copy))
