"""History in an ordinary directory: what is visible there is the history, and nothing is stored elsewhere."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.file_lock import lock

MARKER = ".remote"
"""Name of the file that marks a directory as the copy of a history on object storage."""


@dataclass(frozen=True)
class LocalBackend(HistoryBackend):
    """Backend of an ordinary directory. A copy of a history on object storage is never written as one."""

    root: Path

    @property
    def location(self) -> str:
        return str(self.root)

    @property
    def absolute_location(self) -> str:
        return str(self.root.resolve())

    def refresh(self, run_id: str = "") -> None:  # noqa: ARG002
        """Check that a directory is or can be there; it is the history.

        Raises:
            EnvironmentFault: If a file is in the way.
        """
        self._refuse_copy()
        if not (place := self._place()).is_dir():
            raise self._fault(place, "a file is in the way")

    def probe(self) -> None:
        """Make and lock a file where the history is or will be, and remove it again.

        Raises:
            EnvironmentFault: If it cannot be made or locked.
        """
        self.refresh()
        place = self._place()
        try:
            with tempfile.NamedTemporaryFile(prefix=".overnight-", dir=place) as file:
                lock(file.fileno(), place)
        except OSError as error:
            raise self._fault(place, error.strerror) from error

    def _place(self) -> Path:
        """Return the directory, or the nearest path above it that exists."""
        root = Path(os.path.abspath(self.root))
        return next(path for path in (root, *root.parents) if os.path.lexists(path))

    def _fault(self, place: Path, reason: str | None) -> EnvironmentFault:
        below = f" (in {place})" if place != Path(os.path.abspath(self.root)) else ""
        return EnvironmentFault(
            f"the history {self.location} cannot be used{below}: {reason}",
            remedy="Name a folder that you can write to: --history DIR, or OVERNIGHT_HISTORY.",
        )

    def hold(self, run: Path) -> AbstractContextManager[None]:
        """Do nothing: the lock on this machine is enough."""
        self._refuse_copy()
        return super().hold(run)

    def put_file(self, path: Path, content: Path) -> None:  # noqa: ARG002
        """Do nothing: the rename that follows stores the file."""
        self._refuse_copy()

    def put_folder(self, path: Path, content: Path, names: Sequence[str]) -> bool:  # noqa: ARG002
        """Return False: the rename that follows stores the folder."""
        self._refuse_copy()
        return False

    def put_run(self, run: Path, content: Path) -> None:  # noqa: ARG002
        """Do nothing: the rename that follows stores the run."""
        self._refuse_copy()

    def _refuse_copy(self) -> None:
        if os.path.lexists(self.root / MARKER):
            raise foreign_copy(self.root)


def foreign_copy(root: Path) -> UsageError:
    """Return the error for a directory that is marked as a copy, and that this machine does not keep as one."""
    return UsageError(
        f"{root / MARKER} marks this as the copy of a history on object storage, but this machine keeps no copy there",
        remedy="Name the history by its URL, --history URL; or remove that file to use this directory by itself.",
    )
