"""Completions that were paid for, on the disk before anything else is done with them."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.errors import HistoryError
from schemas.program import Completion
from tasks.history.atomic_files import append_lines, disk_errors, read_lines
from tasks.history.remote.mirror import publish_lines

Key = tuple[int, int, str]
"""Prompt, sample and the prompt's hash: what was asked, so that a changed prompt never takes another's answer."""

_COMPLETION = TypeAdapter(Completion)


class Journal:
    """The completions of one generation. It outlives a failed attempt and a killed process.

    Args:
        path: One line of JSON a completion.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writing = threading.Lock()
        self._drop_torn_line()

    def known(self) -> dict[Key, Completion]:
        """What is paid for already.

        Raises:
            HistoryError: If a line is damaged.
        """
        completions = [self._completion(number, line) for number, line in enumerate(read_lines(self._path), start=1)]
        return {(c.prompt, c.sample, c.prompt_hash): c for c in completions}

    def record(self, completions: Sequence[Completion]) -> None:
        """Returns when they are on the disk, and on the store where the history is on one.

        Raises:
            StoreUnavailable: If the store does not answer; on the disk they are all the same.
        """
        with self._writing:
            append_lines(self._path, [orjson.dumps(completion) for completion in completions])
        publish_lines(self._path)

    def take(self, lines: list[bytes]) -> None:
        """Adds lines that another machine wrote."""
        with self._writing:
            append_lines(self._path, lines)

    def discard(self) -> None:
        """After the generation is committed, its programs hold the completions."""
        self._path.unlink(missing_ok=True)

    def _completion(self, number: int, line: bytes) -> Completion:
        try:
            return _COMPLETION.validate_json(line)
        except ValidationError as error:
            raise HistoryError(
                f"{self._path}:{number} is damaged: expected one completion as JSON, got {line[:80]!r}",
                remedy="Restore the file from a copy, or remove the line; its completion is then bought again.",
            ) from error

    def _drop_torn_line(self) -> None:
        """A line that a crash cut short would swallow the next one."""
        whole = read_lines(self._path)
        size = sum(len(line) + 1 for line in whole)
        if self._path.exists() and self._path.stat().st_size != size:
            with disk_errors(self._path), self._path.open("r+b") as handle:
                handle.truncate(size)
