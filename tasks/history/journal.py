"""Keep completions and pending batch jobs on disk before anything else is done with them: each is paid for once.

Beside the completions are the verdicts on them, so that no program is evaluated again after a kill.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from overnight.schemas.completion_source import PendingBatch
from overnight.schemas.errors import DiskFault, HistoryError
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.outcome import StoredVerdict
from overnight.schemas.program import LAST, NO_MODELS, QUESTION, Completion
from overnight.tasks.history.atomic_files import append_lines, disk_errors, read_lines

Key = tuple[int, int, str]
"""Index of the prompt, number of the sample, and hash of the prompt, so that a changed prompt is asked again."""

_COMPLETION = TypeAdapter(Completion)
_BATCH = TypeAdapter(PendingBatch)
_VERDICT = TypeAdapter(StoredVerdict)
_OF_VERDICT = b'{"candidate":'
"""Beginning of a line with a verdict; that of a completion has another first field."""


class Journal:
    """Journal of the completions of one generation, which survives failed attempts and killed processes.

    Its file has one line of JSON per completion or verdict. Completions that the disk does not take stay in memory
    until it does.
    """

    def __init__(self, path: Path, history: HistoryBackend) -> None:
        self._path = path
        self._history = history
        self._unwritten: list[bytes] = []
        self._has_failed = False
        self._writing = threading.Lock()
        self._end = sum(len(line) + 1 for line in read_lines(path))
        self._drop_the_rest()  # a line that a crash cut short, since the next one would be appended to it

    def known(self) -> dict[Key, Completion]:
        """Return the completions that are on disk."""
        return {(c.prompt, c.sample, c.prompt_hash): c for c in self.completions()}

    def completions(self) -> list[Completion]:
        """Return the completions that are on disk in order, each as often as it was paid for."""
        lines = enumerate(self.lines(), start=1)
        found = [self._completion(number, line) for number, line in lines if not line.startswith(_OF_VERDICT)]
        return [one for one in found if one.finish_reason != LAST]

    def record(self, completions: Sequence[Completion]) -> None:
        """Write completions to disk, and then wherever the history keeps them.

        Raises:
            DiskFault: If the disk does not take them; the next call writes them first, as `write_waiting` does.
            StoreUnavailable: If the history's place does not answer; the completions are on disk even then.
        """
        self._write([orjson.dumps(completion) for completion in completions])

    def end_early(self, prompts: int, agent: str = "") -> None:
        """Write down that the generation has so many prompts only, and whose session it is; raise as `record` does."""
        self._write_now([orjson.dumps(Completion(prompts, 0, "", "", agent, 0, 0, None, 0.0, LAST, datetime.now(UTC)))])

    def keep_verdicts(self, verdicts: Sequence[StoredVerdict]) -> None:
        """Write verdicts to disk; raise as `record` does. Those that the disk does not take are given again."""
        self._write_now([orjson.dumps(verdict) for verdict in verdicts])

    def verdicts(self) -> list[StoredVerdict]:
        """Return the verdicts that are on disk in order, without damaged lines: their programs are evaluated again."""
        return _verdicts(self.lines())

    def write_waiting(self) -> None:
        """Write the completions that the disk did not take; raise as `record` does."""
        if self._unwritten:
            self._write([])

    @property
    def waiting(self) -> int:
        """Number of completions that the disk did not take."""
        return len(self._unwritten)

    def lines(self) -> list[bytes]:
        return read_lines(self._path)

    def add_lines(self, lines: list[bytes]) -> None:
        """Append lines that another machine wrote."""
        with self._writing:
            append_lines(self._path, lines)

    def _write_now(self, lines: list[bytes]) -> None:
        """Write lines by which nobody goes if the disk does not take them, so that they must not be written later."""
        try:
            self._write(lines)
        except DiskFault:
            with self._writing:
                self._unwritten = [line for line in self._unwritten if line not in lines]
            raise

    def _write(self, lines: list[bytes]) -> None:
        with self._writing:
            self._unwritten += lines
            if self._has_failed:  # a disk that failed altogether may have kept lines, or a part of one
                self._drop_the_rest()
            else:
                self._end = self._size()
            self._has_failed = True
            append_lines(self._path, self._unwritten)
            self._unwritten, self._has_failed = [], False
        self._history.put_lines(self._path)

    def discard(self) -> None:
        """Remove the file; once the generation is committed, its programs contain the completions."""
        self._path.unlink(missing_ok=True)

    def _completion(self, number: int, line: bytes) -> Completion:
        try:
            return _COMPLETION.validate_json(line)
        except ValidationError as error:
            raise HistoryError(
                f"{self._path}:{number} is damaged: expected one completion as JSON, got {line[:80]!r}",
                remedy="Restore the file from a copy, or remove the line; its completion is then requested and paid "
                "for again.",
            ) from error

    def _drop_the_rest(self) -> None:
        """Remove what is in the file beyond the lines that were written, which would count twice."""
        if self._size() > self._end:
            with disk_errors(self._path), self._path.open("r+b") as handle:
                handle.truncate(self._end)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0


def readable_completions(path: Path) -> list[Completion]:
    """Return the completions of a journal, if there is one, without damaged lines; another process may write it now."""
    return [one for one in _readable(path) if one.finish_reason != LAST]


def readable_verdicts(path: Path) -> list[StoredVerdict]:
    """Return the verdicts of a journal, if there is one, without damaged lines; another process may write it now."""
    return _verdicts(read_lines(path))


def prompts_of_journal(path: Path) -> tuple[int | None, int, str]:
    """Return with how many prompts a generation ended early, `None` if it did not, and how many were asked at least.

    The third is the model of the agent whose session it is; empty for any other.
    """
    found = _readable(path)
    last = next((one for one in found if one.finish_reason == LAST), None)
    asked = [
        one.prompt + 1 for one in found if one.model not in NO_MODELS and one.finish_reason not in (LAST, QUESTION)
    ]
    return last and last.prompt, max(asked, default=0), last.model if last else ""


def _readable(path: Path) -> list[Completion]:
    found = list[Completion]()
    for line in read_lines(path):
        if not line.startswith(_OF_VERDICT):
            with contextlib.suppress(ValidationError):
                found.append(_COMPLETION.validate_json(line))
    return found


def _verdicts(lines: Sequence[bytes]) -> list[StoredVerdict]:
    found = list[StoredVerdict]()
    for line in lines:
        if line.startswith(_OF_VERDICT):
            with contextlib.suppress(ValidationError):
                found.append(_VERDICT.validate_json(line))
    return found


@dataclass(frozen=True)
class PendingBatches:
    """Pending batch jobs of a run: one file each, whose last complete line is the current state.

    The state of a job that is submitted and that the disk does not take stays in memory.
    """

    folder: Path
    history: HistoryBackend
    _unwritten: dict[str, PendingBatch] = field(default_factory=dict)

    def keep(self, pending_batch: PendingBatch) -> None:
        """Write a batch job's state to disk, and then wherever the history keeps it."""
        if pending_batch.batch_id:
            self._unwritten[pending_batch.key] = pending_batch
        append_lines(self._path(pending_batch), [orjson.dumps(pending_batch)])
        self._unwritten.pop(pending_batch.key, None)
        self.history.put_lines(self._path(pending_batch))

    def drop(self, pending_batch: PendingBatch) -> None:
        """Remove a batch job whose results are recorded, or that was never submitted."""
        self._unwritten.pop(pending_batch.key, None)
        self.history.remove_file(self._path(pending_batch))
        self._path(pending_batch).unlink(missing_ok=True)

    def all(self) -> list[PendingBatch]:
        """Return all pending batch jobs, ordered by key."""
        found = [self._read(path) for path in sorted(self.folder.glob("*.slip"))]
        return [self._unwritten.get(one.key, one) for one in found if one is not None]

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
