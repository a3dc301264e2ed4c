"""Records to tables and back: what is written of a run, and how a run is read again from its files alone."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from schemas import problem_folder, tables
from schemas.algorithm import Change, Join, Reset
from schemas.bounded_parsing import parse_json
from schemas.errors import HistoryError, SpecificationError
from schemas.feedback import Feedback, latest_feedback
from schemas.files import File, require_distinct
from schemas.generation import Finalist, GenerationRecord, NightRecord, RunHistory, RunRecord, Step, StopReason
from schemas.outcome import Outcome
from schemas.problem import restore_problem
from schemas.program import Program
from tasks.history import rows
from tasks.history.atomic_files import disk_errors, read_file, said_size, write_file, write_folder
from tasks.history.files import Block, RunFiles
from tasks.history.journal import Journal
from tasks.history.private_files import open_private

_LONGEST_ORIGIN = 8192
"""Bytes of a path."""


def create(files: RunFiles, run: RunRecord, *given: GenerationRecord) -> None:
    """Writes a new run: first its start program, as generation 0, then the run's own row, which makes it visible.

    Called again after a crash in between, it begins anew.

    Args:
        files: Of the run.
        run: Its row.
        given: The start program's generation, and any other that is there before the search begins.
    """
    files.forget_half_begun()
    for generation in given:
        commit(files, generation)
    if run.problem.files:
        kept = [{"path": file.path, "content": file.content} for file in run.problem.files]
        write_file(files.problem_files, _table(tables.FILES, kept))
    if run.origin:
        with disk_errors(files.origin), open_private(files.origin, "wb") as handle:
            handle.write(f"{run.origin}\n".encode("utf-8", "surrogateescape"))
    write_file(files.run, _table(tables.RUNS, [rows.run_row(run)]))


def commit(files: RunFiles, record: GenerationRecord) -> None:
    """Commits a generation by one rename; its paid completions are then part of it.

    Raises:
        HistoryError: If it is committed already.
    """
    if record.number in files.committed():
        raise HistoryError(f"{files.generation(record.number)} is committed already")
    write_folder(
        files.generation(record.number),
        {
            "programs": _table(
                tables.PROGRAMS, [rows.program_row(files.run_id, record, judged) for judged in record.judged]
            ),
            "population": _table(tables.POPULATION, rows.population_rows(files.run_id, record)),
            "generation": _table(tables.GENERATIONS, [rows.generation_row(files.run_id, record)]),
        },
    )
    Journal(files.paid(record.number)).discard()


def record_failure(files: RunFiles, record: GenerationRecord) -> None:
    """Writes down an attempt that failed, beside the committed generations."""
    write_file(
        files.attempt(record.number, record.attempt),
        _table(tables.GENERATIONS, [rows.generation_row(files.run_id, record)]),
    )


def give_up(files: RunFiles, generation: int, place: int) -> None:
    """Makes the last failed attempt at a generation its end."""
    path = files.attempt(generation, files.failed_attempts(generation))
    row = read_file(path).to_pylist()[0]
    write_file(path, _table(tables.GENERATIONS, [{**row, "place": place}]))


def read_spent_usd(files: RunFiles) -> float:
    """USD that the run has cost so far: what is committed, and what is paid for and not committed yet."""

    def committed_costs(blocks: list[Block]) -> list[float]:
        read = [read_file(block.folder / "generation.parquet", columns=["cost_usd"]) for block in blocks]
        return [cost for table in read for cost in table["cost_usd"].to_pylist()]

    costs = files.steady(committed_costs)
    committed = files.committed()
    journals = [Journal(files.paid(number)) for number in files.paid_for() if number not in set(committed)]
    costs += [completion.cost_usd for journal in journals for completion in journal.known().values()]
    # A stranger's run may say that it has cost less than nothing, and a budget would be overspent by as much.
    return sum(cost for cost in costs if cost is not None and cost > 0)


def write_night(files: RunFiles, night: NightRecord) -> None:
    """Writes a night's row; called at its start and again at its end."""
    write_file(files.night(night.number), _table(tables.NIGHTS, [rows.night_row(files.run_id, night)]))


def interrupt_night(files: RunFiles) -> None:
    """Write down that the night under way was interrupted, where its process has no time for more."""
    if not (nights := files.nights()):
        return
    row = read_file(nights[-1]).to_pylist()[0]
    if row["ended_at"] is None:
        row |= {"ended_at": datetime.now(UTC), "stop_reason": StopReason.INTERRUPTED.value}
        write_file(nights[-1], _table(tables.NIGHTS, [row]))


def read_run(files: RunFiles) -> RunRecord:
    """Reads the run's own row."""
    row = read_file(files.run).to_pylist()[0]
    return RunRecord(
        run_id=row["run_id"],
        problem=restore_problem(
            row["problem"],
            row["specification"],
            _read_settings(files, row["settings"]),
            _read_files(files, dict(row.get("files") or ())),
        ),
        seed=row["seed"],
        started_at=row["started_at"],
        specification_path=row["specification_path"],
        image_id=row["image_id"],
        versions=dict(row["versions"]),
        rescored_from=row.get("rescored_from") or "",
        origin=_read_origin(files),
    )


def _read_origin(files: RunFiles) -> str:
    """Where the problem lies on this machine; empty where that is not known."""
    try:
        content = problem_folder.read_bytes(files.directory, files.origin.name, most_bytes=_LONGEST_ORIGIN)
    except SpecificationError:
        return ""
    return content.decode("utf-8", "surrogateescape").rstrip("\n")


def _read_settings(files: RunFiles, text: str) -> dict[str, Any]:
    """The settings of a run.

    Raises:
        HistoryError: If they are no JSON object of plain values.
    """
    try:
        settings = parse_json(text)
    except ValueError as error:
        raise HistoryError(
            f"{files.run}: the settings are no JSON: {error}", remedy="Restore it from a copy."
        ) from error
    if not isinstance(settings, dict):
        raise HistoryError(f"{files.run}: the settings are no table", remedy="Restore it from a copy.")
    return settings


def _read_files(files: RunFiles, hashes: Mapping[str, str]) -> list[File]:
    """The problem's own files.

    Raises:
        HistoryError: If they are not those that the run was begun with.
    """
    if not hashes:
        return []
    try:
        kept = [File(row["path"], row["content"]) for row in read_file(files.problem_files).to_pylist()]
        require_distinct(kept)
    except SpecificationError as error:
        raise HistoryError(
            f"{files.problem_files}: {error.message}", remedy="Take the run from another copy."
        ) from error
    if {file.path: file.hash for file in kept} != hashes:
        raise HistoryError(
            f"{files.problem_files} does not hold the files that the run was begun with",
            remedy="Restore it from a copy.",
        )
    return kept


def read_run_history(files: RunFiles, *, with_feedback: bool = False) -> RunHistory:
    """Reads how all generations ended, as far as they follow on each other without a gap.

    Args:
        files: Of the run.
        with_feedback: Whether to read what can be learnt from tries that failed, too.

    Raises:
        HistoryError: If generation 0, the start program, is missing or a file is damaged.
    """
    return files.steady(lambda blocks: _past(files, blocks, with_feedback))


def _past(files: RunFiles, blocks: Sequence[Block], with_feedback: bool) -> RunHistory:
    for block in blocks:
        _require_what_it_says(block)
    ends = _ends(files, blocks)
    if not ends:
        raise HistoryError(f"no folder {files.generation(0)}, the start program", remedy="Restore it from a copy.")
    committed = {number for number, is_committed in ends if is_committed}
    counted = [block for block in blocks if block.first in committed]
    programs: defaultdict[int, list[Program]] = defaultdict(list)
    feedback: defaultdict[int, list[Feedback]] = defaultdict(list)
    hashes: set[str] = set()
    for row in _candidates(counted, _PAST_COLUMNS + _FEEDBACK_COLUMNS * with_feedback):
        if with_feedback:
            feedback[row["generation"]].append(_feedback(row))
        if row["outcome"] != "sandbox_error":
            hashes.add(row["code_hash"])
        if row["outcome"] == "scored":
            program = Program(row["program_id"], row["body"], tuple(row["scores"]), row["score"])
            programs[row["generation"]].append(program)
    changes = _changes(counted)
    kept = {program.id: program for number, is_committed in ends if is_committed for program in programs[number]}
    steps = (
        Step(number, ok, changes[number] if ok else (), _latest(feedback[number], kept) if ok else {})
        for number, ok in ends
        if number
    )
    return RunHistory(kept, tuple(steps), frozenset(hashes - {""}))


def _require_what_it_says(block: Block) -> None:
    """Check that a block has as many generations as its name says, of which others are made up.

    Raises:
        HistoryError: If it has others.
    """
    if block.size > 1 and said_size(block.folder / "generation.parquet")[0] != block.size:
        raise HistoryError(
            f"{block.folder} does not hold {block.size} generations, as its name says", remedy="Restore it from a copy."
        )


def _candidates(blocks: Sequence[Block], columns: list[str]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        yield from read_file(block.folder / "programs.parquet", columns=columns).to_pylist()


def _latest(feedback: Sequence[Feedback], programs: Mapping[str, Program]) -> dict[str, Feedback]:
    return latest_feedback(feedback, lambda parent: programs[parent].score if parent in programs else None)


def _feedback(row: dict[str, Any]) -> Feedback:
    parents, scores = row["parent_ids"], (score for score in row["scores"] or () if score is not None)
    return Feedback(
        parent_id=parents[-1] if parents else "",
        body=row["body"],
        outcome=Outcome(row["outcome"]),
        error=row["error"],
        output=row["output"],
        scores=tuple(scores),
        score=row["score"],
    )


def _ends(files: RunFiles, blocks: Sequence[Block]) -> list[tuple[int, bool]]:
    """Generations that came to their end, and whether by a commit, in that order; up to the first gap."""
    failed = [row for path in files.attempts() for row in _rows(path) if row["place"] is not None]
    numbers = [number for block in blocks for number in range(block.first, block.last + 1)]
    ends = {number: (number, True) for number in numbers}
    if failed:
        ended = [row for block in blocks for row in _rows(block.folder / "generation.parquet")]
        ends = {row["place"]: (row["generation"], row["state"] == "committed") for row in (*ended, *failed)}
    return [ends[place] for place in itertools.takewhile(ends.__contains__, itertools.count())]


def _rows(path: Path) -> list[dict[str, Any]]:
    """Which generations, how they ended and when; a commit from before there were places has its number's."""
    return [
        {**row, "place": row["generation"]}
        if row.get("place") is None and row["state"] == "committed"
        else {"place": None, **row}
        for row in read_file(path, columns=["generation", "state", "place"]).to_pylist()
    ]


def read_night(files: RunFiles, number: int, programs: Mapping[str, Program]) -> NightRecord:
    """Reads one night.

    Args:
        files: Of the run.
        number: The night's, from 1.
        programs: Scored programs by id, for the finalists.
    """
    row = read_file(files.night(number)).to_pylist()[0]
    finalists = tuple(
        Finalist(programs[one["program_id"]], one["train"], one["validation"], one["held_out"])
        for one in row["finalists"] or ()
        if one["program_id"] in programs
    )
    reason = StopReason(row["stop_reason"]) if row["stop_reason"] else None
    kept = {key: row[key] for key in _NIGHT_COLUMNS if key in row}
    return NightRecord(number=row["night"], finalists=finalists, stop_reason=reason, **kept)


def last_finished_night(files: RunFiles, programs: Mapping[str, Program]) -> NightRecord | None:
    """The last night that came to its end and had a final."""
    for number in range(len(files.nights()), 0, -1):
        night = read_night(files, number, programs)
        if night.finalists:
            return night
    return None


_NIGHT_COLUMNS = (
    "started_at", "ended_at", "generations", "samples", "cost_usd", "best_before", "best_after", "best_program_id",
    "error", "paused_s", "paused_by", "flow_run_id",
)  # fmt: skip

_PAST_COLUMNS = ["generation", "program_id", "outcome", "code_hash", "body", "scores", "score"]
_FEEDBACK_COLUMNS = ["parent_ids", "error", "output"]


def _table(schema: pa.Schema, content: Sequence[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(content), schema=schema)


def _changes(blocks: Sequence[Block]) -> dict[int, tuple[Change, ...]]:
    """The population's changes in each generation, in order."""
    found: dict[int, list[Change]] = {number: [] for block in blocks for number in range(block.first, block.last + 1)}
    for block in blocks:
        rows_of_block = read_file(block.folder / "population.parquet").to_pylist()
        for row in sorted(rows_of_block, key=lambda row: (row["generation"], row["step"])):
            kind = Join if row["event"] == "joined" else Reset
            found[row["generation"]].append(kind(rows.niche_of(row), row["program_id"]))
    return {number: tuple(changes) for number, changes in found.items()}
