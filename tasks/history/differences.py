"""Two records of one run compared: what differs, apart from times, and where first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from tasks.history.atomic_files import read_file
from tasks.history.files import RunFiles
from tasks.history.recorded_rows import Row, Table, read_rows

_TIMES = {
    "asked_at", "judged_at", "started_at", "ended_at", "latency_s", "wall_s", "cpu_s", "peak_mib", "sample_s",
    "evaluate_s", "select_s", "paused_s", "flow_run_id",
}  # fmt: skip
"""What no two evaluations have in common."""

_MEASURED = ("programs", "population", "generation")


@dataclass(frozen=True)
class Difference:
    """A row that is not the same in both.

    Attributes:
        table: Which of a run's tables.
        generation: Its number; of the table `nights` the night's.
        recorded: The columns that differ, as they are in the first record; empty if it has no such row.
        repeated: Likewise in the second.
        row: The row in whichever record has it, the first before the second.
    """

    table: str
    generation: int
    recorded: Row
    repeated: Row
    row: Row


@dataclass(frozen=True)
class Comparison:
    """What comparing two records gave.

    Attributes:
        generations: How many were compared.
        programs: How many candidates the first record has in them.
        differing_generations: How many differ in anything.
        differing_programs: How many candidates do.
        first: The first difference, in the order in which generations came to their end, then of nights.
    """

    generations: int
    programs: int
    differing_generations: int
    differing_programs: int
    first: Difference | None


def compare(recorded: RunFiles, repeated: RunFiles, generations: Sequence[int]) -> Comparison:
    """Compares generations in the order given, then the nights.

    Raises:
        HistoryError: If a file is missing or damaged.
    """
    first: Difference | None = None
    programs = differing_generations = differing_programs = 0
    for number in generations:
        programs += len(read_rows(recorded, "programs", number))
        found = [one for table in _MEASURED for one in _in_generation(recorded, repeated, table, number)]
        first = first or next(iter(found), None)
        differing_generations += bool(found)
        differing_programs += sum(one.table == "programs" for one in found)
    first = first or next(_in_nights(recorded, repeated), None)
    return Comparison(len(generations), programs, differing_generations, differing_programs, first)


def _in_generation(recorded: RunFiles, repeated: RunFiles, table: Table, number: int) -> Iterator[Difference]:
    rows, others = read_rows(recorded, table, number), read_rows(repeated, table, number)
    if table == "programs":
        places = sorted({row["index"] for row in (*rows, *others)})
        by_place, by_other = ({row["index"]: row for row in part} for part in (rows, others))
        pairs = [(by_place.get(place), by_other.get(place)) for place in places]
    else:
        pairs = list(zip_longest(rows, others))
    for row, other in pairs:
        yield from _between("generations" if table == "generation" else table, number, row, other)


def _in_nights(recorded: RunFiles, repeated: RunFiles) -> Iterator[Difference]:
    for path in recorded.nights():
        row, other = read_file(path).to_pylist()[0], read_file(repeated.nights()[0].with_name(path.name)).to_pylist()[0]
        yield from _between("nights", row["night"], row, other)


def _between(table: str, number: int, row: Row | None, other: Row | None) -> Iterator[Difference]:
    if row is None or other is None:
        yield Difference(table, number, row or {}, other or {}, row or other or {})
        return
    names = [name for name in row if name not in _TIMES and not _same(name, row[name], other.get(name))]
    if names:
        yield Difference(table, number, {n: row[n] for n in names}, {n: other.get(n) for n in names}, row)


def _same(column: str, value: Any, other: Any) -> bool:
    """A commit from before there were places has none."""
    return value == other or (column == "place" and value is None)
