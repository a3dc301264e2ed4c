"""Read the JSON files that a problem names as inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas.errors import SpecificationError
from schemas.settings import Settings
from tasks.program import problem_folder
from tasks.program.bounded_parsing import parse_json

SPLITS = ("inputs", "validation", "held_out")
"""Settings that hold inputs."""

MAX_BYTES = 32 * 2**20
"""Limit on all input files of a problem together, bytes; every run stores a copy of their content."""

MAX_INPUTS = 10_000
"""Limit on the inputs of a split: a program is scored on each by itself, and every program stores its scores."""


@dataclass
class InputFiles:
    """JSON files that settings name as inputs.

    Attributes:
        folder: Folder of the problem.
        remaining_bytes: Number of bytes that may still be read.
    """

    folder: Path
    remaining_bytes: int = field(default=MAX_BYTES, init=False)

    def content(self, item: Any) -> Any:
        """Return an input: the content of the file that an item names, or the item itself if it names none.

        Raises:
            SpecificationError: If the file is missing, outside of the folder, too large, or not JSON.
        """
        if not isinstance(item, str) or not item.endswith(".json"):
            return item
        try:
            text = problem_folder.read_bytes(self.folder, item, max_bytes=self.remaining_bytes)
            self.remaining_bytes -= len(text)
            return parse_json(text)
        except SpecificationError as error:
            raise SpecificationError(
                f"input file {item!r}: {error.message}",
                remedy="Paths are relative to the specification's folder. Put large data into `files`, where programs "
                "can read it.",
            ) from error
        except ValueError as error:
            raise SpecificationError(
                f"{self.folder / item}: not valid JSON: {error}", remedy="Correct the file."
            ) from error


def with_input_files(settings: Settings, folder: Path, splits: Sequence[str] = SPLITS) -> Settings:
    """Return settings in which the names of input files are replaced by their content, so that a run stores it.

    Raises:
        SpecificationError: If there are too many inputs, or an input file cannot be read.
    """
    for split in splits:
        if (count := len(getattr(settings, split))) > MAX_INPUTS:
            raise SpecificationError(
                f"{split}: {count:,} inputs, expected at most {MAX_INPUTS:,}",
                remedy="Let one input stand for many, such as a number of cases that the scoring draws with a seed.",
            )
    reader = InputFiles(folder)
    return settings.model_copy(update={split: tuple(map(reader.content, getattr(settings, split))) for split in splits})
