"""Words of models on the winners of a run, `readings.jsonl` beside its tables; it is not exported."""

from __future__ import annotations

import json
from dataclasses import asdict

from overnight.schemas.report_rows import Reading
from overnight.tasks.history.atomic_files import append_lines, read_lines
from overnight.tasks.history.files import RunFiles


def add_reading(files: RunFiles, reading: Reading) -> None:
    """Keep a reading; return when it is on disk."""
    append_lines(files.readings, [json.dumps(asdict(reading)).encode()])


def readings_of(files: RunFiles) -> list[Reading]:
    """Return the readings of a run, in order; lines that are damaged are left out."""
    found = []
    for line in read_lines(files.readings):
        try:
            found.append(Reading(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return found
