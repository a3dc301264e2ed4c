"""Batches that a provider has, on the disk from before they are sent until their answers are safe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.errors import HistoryError
from schemas.pending_batch import PendingBatch
from tasks.history.atomic_files import append_lines, read_lines
from tasks.history.remote.mirror import publish_lines, withdraw

_SLIP = TypeAdapter(PendingBatch)


@dataclass(frozen=True)
class PendingBatches:
    """Those of a run.

    Args:
        folder: One file a batch; its last whole line says what is known of it.
    """

    folder: Path

    def keep(self, pending_batch: PendingBatch) -> None:
        """Returns when it is on the disk, and on the store where the history is on one."""
        append_lines(self._path(pending_batch), [orjson.dumps(pending_batch)])
        publish_lines(self._path(pending_batch))

    def drop(self, pending_batch: PendingBatch) -> None:
        """When its answers are safe, or it turned out that it was never sent."""
        withdraw(self._path(pending_batch))
        self._path(pending_batch).unlink(missing_ok=True)

    def all(self) -> list[PendingBatch]:
        """Every batch that is under way, in the order of their keys.

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
            # Without a whole line, a crash came before anything was sent.
            return _SLIP.validate_json(lines[-1]) if lines else None
        except ValidationError as error:
            raise HistoryError(
                f"{path} is damaged: expected a batch as JSON, got {lines[-1][:80]!r}",
                remedy="Restore the file from a copy, or remove it; what the batch holds is then bought again.",
            ) from error
