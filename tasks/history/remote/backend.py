"""History on object storage: a copy on this machine is read, and everything is written to the store first.

So the copy may be deleted whenever no night is under way.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import slug
from overnight.tasks.history.atomic_files import RUNS
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.remote import sync
from overnight.tasks.history.remote.lease import Lease
from overnight.tasks.history.remote.mirror import Mirror, mirror_of_url

_ROW = "run.parquet"


@dataclass
class Hold:
    """Lock of this process on a run, on this machine and on the store.

    Attributes:
        is_unsure: Whether a request to the store failed, and may or may not have had its effect; at first, another
            machine may have written the run since this one did.
        sent: Bytes of each growing file that are on the store.
    """

    lease: Lease
    is_unsure: bool = True
    sent: dict[Path, int] = field(default_factory=dict)
    sending: threading.Lock = field(default_factory=threading.Lock)


class MirroredBackend(HistoryBackend):
    """Backend of a history on object storage."""

    def __init__(self, mirror: Mirror) -> None:
        self.mirror = mirror
        self.root = mirror.root
        self._holds: dict[Path, Hold] = {}

    @property
    def location(self) -> str:
        return self.mirror.url

    def refresh(self, run_id: str = "") -> None:
        """Update the copy from the store; readers meanwhile see each generation whole, and none twice."""
        sync.pull(self.mirror, self, run_id)

    def probe(self) -> None:
        """Check that the store can be written to, by writing and removing an object."""
        key = f"probe-{self.mirror.name}"
        self.mirror.store.put(key, b"overnight was here")
        self.mirror.store.delete([key])

    @contextmanager
    def hold(self, run: Path) -> Iterator[None]:
        """Hold a run by a lease on the store, which expires if this process dies."""
        # The name differs for a cache that was copied to another machine.
        name = f"{self.mirror.name}-{slug(socket.gethostname())}"
        hold = Hold(Lease(self.mirror.store, f"{self.mirror.key(run)}/lock", name))
        hold.lease.take()
        self._holds[run] = hold
        try:
            self.catch_up(run)
            try:
                yield
            finally:
                with suppress(EnvironmentFault):
                    self.remove_merged(run)
                    with hold.sending:
                        sync.remove_committed_journals(self.mirror, RunFiles(run, self))
        finally:
            del self._holds[run]
            hold.lease.release()

    def is_unsure(self, run: Path) -> bool:
        """Return whether a request for a held run failed, and may or may not have had its effect."""
        hold = self._holds.get(run)
        return hold is not None and hold.is_unsure

    def catch_up(self, run: Path) -> None:
        """Synchronise a held run in both directions after a failed write."""
        hold = self._holds.get(run)
        if hold is None or not hold.is_unsure:
            return
        if not hold.lease.is_held():
            hold.lease.take()
        self.refresh(run.name)
        with hold.sending:
            sync.merge_uncommitted(self.mirror, RunFiles(run, self))
        hold.is_unsure = False

    def put_file(self, path: Path, content: Path) -> None:
        with self._writing(path):
            self.mirror.store.put(self.mirror.key(path), content)

    def put_folder(self, path: Path, content: Path, names: Sequence[str]) -> bool:
        """Write a folder to the store, its last file after all others; return True."""
        store, key, (*first, last) = self.mirror.store, self.mirror.key(path), names
        with self._writing(path):
            store.each(lambda name: store.put(f"{key}/{name}", content / name), first)
        with self._writing(path):
            store.put(f"{key}/{last}", content / last)
        return True

    def put_run(self, run: Path, content: Path) -> None:
        """Write a run to the store, its own row after all other files."""
        names = [path.relative_to(content).as_posix() for path in content.rglob("*") if path.is_file()]
        names.remove(_ROW)
        store, key = self.mirror.store, self.mirror.key(run)
        store.each(lambda name: store.put(f"{key}/{name}", content / name), names)
        store.put(f"{key}/{_ROW}", content / _ROW)

    def put_lines(self, path: Path) -> None:
        """Write the current lines of a growing file to the store, unless another thread has done so meanwhile.

        If the store does not answer, they are on disk, and are sent again with the next lines.
        """
        hold = self._hold_of(path)
        if hold is None:
            return
        size = path.stat().st_size
        with hold.sending:
            if hold.sent.get(path, 0) < size:
                content = path.read_bytes()
                lines = content[: content.rfind(b"\n") + 1]
                with self._writing(path):
                    self.mirror.store.put(self.mirror.key(path), lines)
                hold.sent[path] = len(lines)

    def remove_file(self, path: Path) -> None:
        with self._writing(path):
            self.mirror.store.delete([self.mirror.key(path)])

    def remove_merged(self, run: Path) -> None:
        """Remove generations from the store that a block contains; after an outage, the next night tries again."""
        sync.remove_merged_generations(self.mirror, RunFiles(run, self))

    @contextmanager
    def _writing(self, path: Path) -> Iterator[None]:
        """Require the lease on a held run before a write, and mark the run as unsure if the write fails."""
        hold = self._hold_of(path)
        try:
            if hold:
                hold.lease.require()
            yield
        except EnvironmentFault:
            if hold:
                hold.is_unsure = True
            raise

    def _hold_of(self, path: Path) -> Hold | None:
        run = next((folder for folder in (path, *path.parents) if folder.parent.name == RUNS), None)
        return None if run is None else self._holds.get(run)


def open_backend(location: str) -> MirroredBackend:
    """Return the backend of the history at a URL.

    Raises:
        UsageError: If the URL is invalid.
        EnvironmentFault: If the copy cannot be written, or the package for this kind of store is missing.
    """
    return MirroredBackend(mirror_of_url(location))
