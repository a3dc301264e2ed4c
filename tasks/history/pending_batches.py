"""Keep pending batch jobs on disk, from before they are submitted until their results are recorded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.errors import HistoryError
from schemas.history_backend import HistoryBackend
from schemas.pending_batch import PendingBatch
from tasks.history.atomic_files import append_lines, read_lines

_BATCH = TypeAdapter(PendingBatch)


@dataclass(frozen=True)
class PendingBatches:
    """Pending batch jobs of a run.

    Args:
        folder: Folder with one file per batch job; the last complete line of a file is its current state.
        history: The history that they belong to.
    """

    folder: Path
    history: HistoryBackend

    def keep(self, pending_batch: PendingBatch) -> None:
        """Write a batch job's state to disk, and then wherever the history keeps it."""
        append_lines(self._path(pending_batch), [orjson.dumps(pending_batch)])
        self.history.put_lines(self._path(pending_batch))

    def drop(self, pending_batch: PendingBatch) -> None:
        """Remove a batch job whose results are recorded, or that was never submitted."""
        self.history.remove_file(self._path(pending_batch))
        self._path(pending_batch).unlink(missing_ok=True)

    def all(self) -> list[PendingBatch]:
        """Return all pending batch jobs, ordered by key.

        Raises:
            HistoryError: If a file is damaged.
        """
        found = [self._read(path) for path in sorted(self.folder.glob("*.slip"))]
        return [pending_batch for pending_batch in found if pending_batch is not None]

    def _path(self, pending_batch: PendingBatch) -> Path:
        return self.folder / f"{pending_batch.key}.slip"

    def _read(self, path: Path) -> PendingBatch | None:
        lines = read_lines(path)
        try:
            # Without a complete line, a crash came before the job was submitted.
            return _BATCH.validate_json(lines[-1]) if lines else None
        except ValidationError as error:
            raise HistoryError(
                f"{path} is damaged: expected a batch job as JSON, got {lines[-1][:80]!r}",
                remedy="Restore the file from a copy, or remove it; the batch's completions are then requested and "
                "paid for again.",
            ) from error
