"""Base class of history backends: the folder that everything reads, and the place where every write goes first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path


class HistoryBackend(ABC):
    """Place of a history.

    Files are read from a folder on this machine only. A write goes through three steps: the content is written to a
    hidden path in the run's folder, a `put_…` method of the backend stores it wherever the backend keeps it, and one
    rename makes it visible in the folder. So nothing is visible that has not been put. Where the folder is the place,
    there is nothing more to do, as here.

    The methods may be called from several threads. Every one may raise, besides the errors that it lists:
        StoreUnavailable: If the place does not answer now; a night then waits, and calls `catch_up`.
        EnvironmentFault: If it refuses.
        UsageError: If the folder belongs to another backend.

    Attributes:
        root: Folder with the files of all runs on this machine; it need not exist yet.
    """

    root: Path

    def __str__(self) -> str:
        return self.location

    @property
    @abstractmethod
    def location(self) -> str:
        """The place as the user names it, for messages and for commands that the user may copy."""

    @property
    def absolute_location(self) -> str:
        """The place as a text that `open_history` accepts in any working directory, on any machine that reaches it."""
        return self.location

    @abstractmethod
    def refresh(self, run_id: str = "") -> None:
        """Update the folder from the place: all runs, or the one of an id."""

    @abstractmethod
    def probe(self) -> None:
        """Check that the place can be written to."""

    def hold(self, run: Path) -> AbstractContextManager[None]:  # noqa: ARG002
        """Hold a run within the context, so that no other machine writes it, and bring it up to date on entry.

        The caller has locked it on this machine.

        Raises:
            RunIsBusy: If another machine holds it.
        """
        return nullcontext()

    def is_unsure(self, run: Path) -> bool:  # noqa: ARG002
        """Return whether a write to a held run failed, and may or may not have had its effect."""
        return False

    def catch_up(self, run: Path) -> None:  # noqa: B027
        """Make the folder and the place agree about a held run again, after a failed write.

        Raises:
            RunIsBusy: If another machine has taken the run over.
        """

    @abstractmethod
    def put_file(self, path: Path, content: Path) -> None:
        """Store one file, which is at `content` now and becomes visible at `path`, in place of an older one."""

    @abstractmethod
    def put_folder(self, path: Path, content: Path, names: Sequence[str]) -> bool:
        """Store a folder of generations; it counts as complete once the last of its files, in order, is stored.

        Returns:
            Whether others can see it from now on, so that one of them may make it visible at `path` first.
        """

    @abstractmethod
    def put_run(self, run: Path, content: Path) -> None:
        """Store a whole imported run; it counts as complete once its own row, `run.parquet`, is stored."""

    def put_lines(self, path: Path) -> None:  # noqa: B027
        """Store the current lines of a file of a held run that grows and is visible already."""

    def remove_file(self, path: Path) -> None:  # noqa: B027
        """Remove a stored file of a held run."""

    def remove_merged(self, run: Path) -> None:  # noqa: B027
        """Remove stored folders of generations that a compacted block contains."""
