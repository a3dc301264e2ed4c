"""Compare two records of one run, ignoring times, and find the first difference."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from overnight.schemas.code_hash import is_of_older_form
from overnight.schemas.program import TURN, without_measured
from overnight.tasks.history.atomic_files import read_file
from overnight.tasks.history.files import RunFiles
from overnight.tasks.history.payments import UNUSED
from overnight.tasks.history.rows import Row, Table, read_rows

VARYING = {
    "asked_at", "judged_at", "started_at", "ended_at", "latency_s", "wall_s", "cpu_s", "input_wall_s", "peak_mib",
    "sample_s", "evaluate_s", "select_s", "paused_s", "flow_run_id", "machine", "machine_faults", "paid",
}  # fmt: skip
"""Columns that may differ between any two evaluations, and by which nights answers came in."""

_MONEY = {"cost_usd", "unused_usd", "tokens_in", "tokens_out", "tokens_cached"}
"""Columns that may differ where answers were paid for that no candidate has, which a replay does not repeat."""

_NUMBER = r"\d+(?:\.\d*)?(?:e[-+]?\d+)?"

_OF_THE_MOMENT = re.compile(
    rf"""
    0x[0-9a-f]+                                                             # an address in memory
    | \d{{4}}-\d\d-\d\d (?: [T\ ] \d\d:\d\d (?: :\d\d (?:\.\d+)? )? )? Z?   # a date
    | \b\d?\d:\d\d:\d\d (?:\.\d+)?                                         # a time of day, or a duration
    | (?<![\w.]){_NUMBER}\ ?(?:[mnuµμ]?s|m|h|min|secs?|seconds?|minutes?|hours?)\b
    | \b(?:time|elapsed|took|seconds|secs|duration|runtime|wall|cpu)\w*\W{{1,3}}{_NUMBER}
    | \b(?:pid|process|thread)\W{{1,3}}\d+
    | /proc/\d+
    | (?:/var)?/tmp/[^\s'")\]]+
    | ,\ in (?:\ line\ \d+)? (?:\ of\ the\ problem's\ file)? (?=[\ ,])    # a line of the program, or of the answer
    """,
    re.IGNORECASE | re.VERBOSE,
)

_COMPARED_TABLES = ("programs", "population", "generation")


@dataclass(frozen=True)
class Difference:
    """Row that differs between the two records.

    Attributes:
        generation: Number of the generation; for the table `nights`, of the night.
        recorded: Columns that differ, as in the first record; empty if it lacks the row.
        repeated: The same columns as in the second record; empty if it lacks the row.
        row: The whole row, from the first record if it has it, else from the second.
    """

    table: str
    generation: int
    recorded: Row
    repeated: Row
    row: Row


@dataclass(frozen=True)
class Comparison:
    """Result of comparing two records.

    Attributes:
        generations: Number of generations that were compared.
        programs: Number of candidates that the first record has in them.
        differing_generations: Number of generations with any difference.
        differing_programs: Number of candidates with any difference.
        first: First difference: of generations in the order in which they ended, then of nights.
        decided_by_time: Number of verdicts that were taken from the first record, since time decided them.
        best_by_time: Best program of the run, if its verdict is one of these; else empty.
    """

    generations: int
    programs: int
    differing_generations: int
    differing_programs: int
    first: Difference | None
    decided_by_time: int = 0
    best_by_time: str = ""


def compare(recorded: RunFiles, repeated: RunFiles, generations: Sequence[int]) -> Comparison:
    """Compare generations in the given order, then the nights."""
    first: Difference | None = None
    programs = differing_generations = differing_programs = 0
    for number in generations:
        programs += len(read_rows(recorded, "programs", number))
        found = [
            difference for table in _COMPARED_TABLES for difference in _in_generation(recorded, repeated, table, number)
        ]
        first = first or next(iter(found), None)
        differing_generations += bool(found)
        differing_programs += sum(difference.table == "programs" for difference in found)
    first = first or next(_in_nights(recorded, repeated), None)
    return Comparison(len(generations), programs, differing_generations, differing_programs, first)


def without_moments(text: str) -> str:
    """Return a text without what it says of its moment: seconds, times, addresses, process ids, temporary files."""
    return _OF_THE_MOMENT.sub("…", text)


def _in_generation(recorded: RunFiles, repeated: RunFiles, table: Table, number: int) -> Iterator[Difference]:
    rows, others = read_rows(recorded, table, number), read_rows(repeated, table, number)
    if table == "programs":
        by_index = {row["index"]: row for row in rows}
        others_by_index = {row["index"]: row for row in others}
        indexes = sorted(by_index.keys() | others_by_index.keys())
        pairs = [(by_index.get(index), others_by_index.get(index)) for index in indexes]
    else:
        pairs = list(zip_longest(rows, others))
    for row, other in pairs:
        yield from _between("generations" if table == "generation" else table, number, row, other)


def _in_nights(recorded: RunFiles, repeated: RunFiles) -> Iterator[Difference]:
    for path in repeated.nights():  # the recorded run may have begun another one meanwhile
        row, other = read_file(recorded.nights()[0].with_name(path.name)).to_pylist()[0], read_file(path).to_pylist()[0]
        if other["ended_at"] is not None:  # else it was killed, or went on meanwhile
            yield from _between("nights", row["night"], row, other)


def _between(table: str, number: int, row: Row | None, other: Row | None) -> Iterator[Difference]:
    if row is None or other is None:
        yield Difference(table, number, row or {}, other or {}, row or other or {})
        return
    left_out = VARYING | (_MONEY if table == "generations" and _paid_apart(row) else set())
    if is_of_older_form(row.get("code_hash", "")):
        left_out = left_out | {"code_hash"}  # it follows from the body, which is compared
    names = [name for name in row if name not in left_out and not _is_same(name, row[name], other[name])]
    if names:
        yield Difference(table, number, {n: row[n] for n in names}, {n: other[n] for n in names}, row)


def _is_same(name: str, recorded: Any, repeated: Any) -> bool:
    if name == "prompt" and isinstance(recorded, str) and isinstance(repeated, str):
        return without_measured(recorded) == without_measured(repeated)
    return recorded == repeated


def _paid_apart(row: Row) -> bool:
    """Return whether a generation paid for more than its candidates and questions, or an older version wrote it."""
    return row.get("paid") is None or any(one["purpose"] in (UNUSED, TURN) for one in row["paid"])
