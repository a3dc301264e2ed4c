"""Read a run back from its files alone."""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from overnight.schemas.algorithm import Change
from overnight.schemas.code_hash import is_of_older_form
from overnight.schemas.errors import HistoryError, SpecificationError
from overnight.schemas.files import File, require_distinct
from overnight.schemas.generation import (
    COMMITTED,
    PUT_OFF,
    NightRecord,
    RunHistory,
    RunRecord,
    Step,
    StopReason,
    Window,
)
from overnight.schemas.interventions import Kind
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import NO_SCORE, QUESTION, Completion, Program, pruned_from
from overnight.tasks.history import payments
from overnight.tasks.history.atomic_files import declared_rows, read_file
from overnight.tasks.history.files import Block, RunFiles
from overnight.tasks.history.interventions import read_interventions
from overnight.tasks.history.journal import Journal, prompts_of_journal
from overnight.tasks.history.rows import (
    Row,
    answer_of_row,
    change_of,
    metrics_of,
    night_of_row,
    notes_of,
    record_of_rows,
)
from overnight.tasks.program import problem_folder
from overnight.tasks.program.bounded_parsing import parse_json
from overnight.tasks.program.make_problem import restore_problem

_MAX_ORIGIN_BYTES = 8192
"""Limit on the length of the problem's path."""


def read_spent_usd(files: RunFiles) -> float:
    """Return the USD that the run has cost so far, in committed generations and in journals of uncommitted ones."""
    journals = [Journal(path, files.backend) for path in files.uncommitted_journals()]
    paid = [one for journal in journals for one in payments.sums_of(payments.uncommitted(journal.completions()))]
    costs = [row["cost_usd"] for row in [*files.rows_of("generation", ["cost_usd"]), *paid]]
    # An imported run may claim negative costs, which would let the budget be exceeded by that amount.
    return math.fsum(cost for cost in costs if cost is not None and cost > 0)


def open_journals(files: RunFiles) -> list[Path]:
    """Return the journals whose answers the next night uses: not those of generations that were given up."""
    given_up = {row["generation"] for path in files.attempts() for row in _rows(path) if row["place"] is not None}
    return [path for path in files.uncommitted_journals() if int(path.stem) not in given_up]


def read_answers(files: RunFiles, generation: int | None = None) -> list[Completion]:
    """Return the answers to questions of the scoring that a run has, those that are not committed last.

    Args:
        files: Files of the run.
        generation: The only generation with which they are committed; `None` for all.

    Raises:
        HistoryError: If a file is damaged.
    """
    paths = files.questions() if generation is None else [files.questions_of(generation)]
    rows = [row for path in paths if path.exists() for row in read_file(path).to_pylist()]
    numbers = files.journalled_generations() if generation is None else []
    stored = [one for number in numbers for one in Journal(files.journal(number), files.backend).known().values()]
    return [*map(answer_of_row, rows), *(one for one in stored if one.finish_reason == QUESTION)]


def ended_without_generation(files: RunFiles, night: int) -> bool:
    """Return whether a night was ended by its deadline before it committed any generation."""
    path = files.night(night)
    if path not in files.nights():
        return False
    row = read_file(path).to_pylist()[0]
    return row["stop_reason"] == StopReason.DEADLINE and not row["generations"]


def read_run(files: RunFiles) -> RunRecord:
    row = read_file(files.run).to_pylist()[0]
    return RunRecord(
        run_id=row["run_id"],
        problem=restore_problem(
            row["problem"],
            row["specification"],
            _read_settings(files, row["settings"]),
            _read_files(files, dict(row["files"] or ())),
        ),
        seed=row["seed"],
        started_at=row["started_at"],
        specification_path=row["specification_path"],
        image_id=row["image_id"],
        versions=dict(row["versions"]),
        rescored_from=row["rescored_from"] or "",
        origin=_read_origin(files),
    )


def _read_origin(files: RunFiles) -> str:
    """Return the problem's path on this machine; empty if it is not known."""
    try:
        content = problem_folder.read_bytes(files.directory, files.origin.name, max_bytes=_MAX_ORIGIN_BYTES)
    except SpecificationError:
        return ""
    return content.decode("utf-8", "surrogateescape").rstrip("\n")


def _read_settings(files: RunFiles, text: str) -> dict[str, Any]:
    try:
        settings = parse_json(text)
    except ValueError as error:
        raise HistoryError(
            f"{files.run}: the settings are not valid JSON: {error}", remedy="Restore it from a copy."
        ) from error
    if not isinstance(settings, dict):
        raise HistoryError(f"{files.run}: the settings are not a JSON object", remedy="Restore it from a copy.")
    return settings


def _read_files(files: RunFiles, hashes: Mapping[str, str]) -> list[File]:
    """Read the problem's own files, whose hashes by path are in the run's row: both must agree."""
    if not hashes:
        return []
    try:
        problem_files = [File(row["path"], row["content"]) for row in read_file(files.problem_files).to_pylist()]
        require_distinct(problem_files)
    except SpecificationError as error:
        raise HistoryError(
            f"{files.problem_files}: {error.message}", remedy="Restore the run from another copy."
        ) from error
    if {file.path: file.hash for file in problem_files} != hashes:
        raise HistoryError(
            f"{files.problem_files} does not hold the files with which the run was started",
            remedy="Restore it from a copy.",
        )
    return problem_files


def read_run_history(files: RunFiles, *, samples: int = 0) -> RunHistory:
    """Read how all generations ended, up to the first gap.

    With the number of samples per prompt, read how each prompt was asked and answered, too.

    Raises:
        HistoryError: If generation 0, the start program, is missing or a file is damaged.
    """
    return files.read_consistently(lambda blocks: _read_run_history(files, blocks, samples))


def without_start_program(files: RunFiles) -> HistoryError:
    """Return the error for a run without generation 0."""
    return HistoryError(f"no folder {files.generation(0)}, the start program", remedy="Restore it from a copy.")


def require_no_gap(files: RunFiles, past: RunHistory) -> None:
    """Check that no generation is committed beyond those that were read, since its number would be used again.

    Raises:
        HistoryError: If one is: a generation before it is missing.
    """
    read = {0, *(step.generation for step in past.steps if step.is_committed)}
    if beyond := [number for number in files.committed() if number not in read]:
        missing = next(number for number in itertools.count() if number not in read)
        raise HistoryError(
            f"{files.generation(beyond[0])} is there, but generation {missing} is missing, without which the run "
            "cannot be continued",
            remedy="Restore the missing folder from a copy, or move the later ones out of the history.",
        )


def _read_run_history(files: RunFiles, blocks: Sequence[Block], samples: int) -> RunHistory:
    for block in blocks:
        _require_declared_rows(block)
    ended = [row for block in blocks for row in _rows(block.folder / "generation.parquet")]
    ends = _ends(files, blocks, ended)
    if not ends:
        raise without_start_program(files)
    committed = {number for number, state, _ in ends if state == COMMITTED}
    before_gap = [block for block in blocks if block.first in committed]
    programs: defaultdict[int, list[Program]] = defaultdict(list)
    asked: defaultdict[int, defaultdict[int, list[Row]]] = defaultdict(lambda: defaultdict(list))
    hashes: set[str] = set()
    unhashed: set[str] = set()
    claimed: dict[str, tuple[float, ...]] = {}
    columns = [*_CANDIDATE_COLUMNS, *_RECORD_COLUMNS] if samples else _CANDIDATE_COLUMNS
    for row in _candidates(before_gap, columns):
        if samples:
            asked[row["generation"]][row["index"] // samples].append(row)
        if scores := row.get("claimed_scores"):
            claimed[row["program_id"]] = tuple(scores)
        if Outcome(row["outcome"]).facts.counts_as_known:
            if is_of_older_form(row["code_hash"]):
                unhashed.add(row["body"])
            else:
                hashes.add(row["code_hash"])
        if row["outcome"] == "scored" or not row["generation"]:
            programs[row["generation"]].append(_program(row))
    changes = _changes(before_gap)
    scored = {program.id: program for number, state, _ in ends if state == COMMITTED for program in programs[number]}
    fewer = {row["generation"]: row["samples_in_flight"] for row in ended}
    steps = tuple(
        replace(_committed_step(number, changes[number], asked[number], claimed, fewer), night=night)
        if state == COMMITTED
        else Step(number, False, is_put_off=state == PUT_OFF, night=night)
        for number, state, night in ends
        if number
    )
    windows = _windows(files) if samples else ()
    given = read_interventions(files)
    born = {one.id: place for place, (number, *_) in enumerate(ends) for one in programs[number]}
    # The start program is never dropped, nor one that came later, whatever a file of others says.
    drops = [one for one in given if one.kind is Kind.DROP and 0 < born.get(one.program_id, 0) <= one.place]
    out = {one.program_id for one in drops if one.place <= len(steps)}
    dropped = {name: program for name, program in scored.items() if name in out}
    left = {name: program for name, program in scored.items() if name not in dropped}
    stored = {number: prompts_of_journal(files.journal(number)) for number in files.journalled_generations()}
    begun = {number: least for number, (_, least, _) in stored.items() if least}
    away = {row["generation"]: row for path in files.attempts() for row in _rows(path) if row["state"] == PUT_OFF}
    lengths = {number: prompts for number, (prompts, _, _) in stored.items()}
    lengths |= {row["generation"]: row.get("prompts") for row in (*away.values(), *ended)}
    early = {number: prompts for number, prompts in lengths.items() if prompts is not None}
    sessions = {number: agent for number, (_, _, agent) in stored.items() if agent}
    sessions |= {number: row["agent"] for number, row in away.items()}
    known = frozenset(hashes - {""}), windows, claimed, given, dropped, frozenset(unhashed)
    return RunHistory(left, steps, *known, early, begun, sessions)


def _committed_step(
    number: int,
    changes: Mapping[int, tuple[Change, ...]],
    asked: Mapping[int, Sequence[Row]],
    claimed: Collection[str],
    fewer: Mapping[int, int | None],
) -> Step:
    records = {prompt: record_of_rows(asked[prompt]) for prompt in sorted(asked)}
    corrected = {
        answer.program_id: answer
        for record in records.values()
        for answer in record.answers
        if answer.program_id in claimed
    }
    confirmations = {prompt: found for prompt in records if (found := _confirmations(asked[prompt]))}
    return Step(number, True, changes, records, confirmations, corrected, fewer.get(number))


def _confirmations(rows: Sequence[Row]) -> tuple[tuple[str, bool], ...]:
    """Return the programs of a prompt that were confirmed, and whether each stood."""
    is_scored = Outcome.SCORED.value
    return tuple(
        (row["program_id"], row["outcome"] == is_scored)
        for row in rows
        if row["outcome"] == Outcome.UNCONFIRMED or (row["outcome"] == is_scored and row["confirmed_score"] is not None)
    )


def _windows(files: RunFiles) -> tuple[Window, ...]:
    rows = [read_file(path).to_pylist()[0] for path in files.nights()]
    return tuple(
        Window(row["first_generation"], row["samples_in_flight"], row["night"])
        for row in rows
        if row.get("samples_in_flight")
    )


def _require_declared_rows(block: Block) -> None:
    """Check that a block has as many generations as its name says, since the numbers come from its name alone."""
    if block.size > 1 and declared_rows(block.folder / "generation.parquet") != block.size:
        raise HistoryError(
            f"{block.folder} does not hold {block.size} generations, as its name says", remedy="Restore it from a copy."
        )


def _candidates(blocks: Sequence[Block], columns: list[str]) -> Iterator[dict[str, Any]]:
    for block in blocks:
        yield from read_file(block.folder / "programs.parquet", columns=columns).to_pylist()


def _ends(files: RunFiles, blocks: Sequence[Block], ended: Sequence[Row]) -> list[tuple[int, str, int]]:
    """Return the generations that ended, in that order up to the first gap, with the state and the night of each."""
    failed = [row for path in files.attempts() for row in _rows(path) if row["place"] is not None]
    numbers = [number for block in blocks for number in range(block.first, block.last + 1)]
    nights = {row["generation"]: row["night"] for row in ended}
    ends = {number: (number, COMMITTED, nights[number]) for number in numbers}
    if failed:
        ends = {row["place"]: (row["generation"], row["state"], row["night"]) for row in (*ended, *failed)}
    return [ends[place] for place in itertools.takewhile(ends.__contains__, itertools.count())]


def _rows(path: Path) -> list[Row]:
    columns = ["generation", "night", "state", "place", "prompts", "samples_in_flight", "agent"]
    return read_file(path, columns=columns).to_pylist()


def read_night(files: RunFiles, number: int, programs: Mapping[str, Program]) -> NightRecord:
    """Read the night of a number, from 1; the scored programs by id are for its finalists."""
    return night_of_row(read_file(files.night(number)).to_pylist()[0], programs)


def last_finished_night(files: RunFiles, programs: Mapping[str, Program]) -> NightRecord | None:
    """Return the last night that ended with a final evaluation."""
    for number in reversed(files.night_numbers()):
        night = read_night(files, number, programs)
        if night.finalists:
            return night
    return None


_CANDIDATE_COLUMNS = [
    "generation", "program_id", "outcome", "code_hash", "body", "scores", "score", "metrics", "notes", "cpu_s",
    "peak_mib", "input_wall_s", "calls", "operator", "parent_ids", "confirmed_score",
]  # fmt: skip


_RECORD_COLUMNS = [
    "index", "niche", "model", "error", "output", "idea", "tokens_in", "tokens_out",
    "cost_usd", "evaluations", "asked_model", "claimed_scores",
]  # fmt: skip


def _changes(blocks: Sequence[Block]) -> dict[int, dict[int, tuple[Change, ...]]]:
    """Return the changes of each generation, in order, by prompt."""
    numbers = [number for block in blocks for number in range(block.first, block.last + 1)]
    found: dict[int, defaultdict[int, list[Change]]] = {number: defaultdict(list) for number in numbers}
    for block in blocks:
        rows_of_block = read_file(block.folder / "population.parquet").to_pylist()
        for row in sorted(rows_of_block, key=lambda row: (row["generation"], row["step"])):
            found[row["generation"]][row["prompt"]].append(change_of(row))
    return {
        number: {prompt: tuple(changes) for prompt, changes in by_prompt.items()} for number, by_prompt in found.items()
    }


def _program(row: Row) -> Program:
    """Return a scored program; or, of generation 0, what stands for a start program that has no score."""
    if row["score"] is None:
        return Program(row["program_id"], row["body"], (), NO_SCORE)
    return Program(
        *(row["program_id"], row["body"], tuple(row["scores"]), row["score"]),
        metrics=metrics_of(row),
        notes=notes_of(row),
        cpu_s=row["cpu_s"] or 0.0,
        peak_mib=row["peak_mib"] or 0.0,
        input_wall_s=tuple(row["input_wall_s"] or ()),
        calls=tuple(row["calls"] or ()),
        pruned_from=pruned_from(row["operator"], row["parent_ids"]),
        is_confirmed=row["confirmed_score"] is not None,
    )
