"""Convert records of runs, generations, candidates, population changes and nights to table rows, and back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import orjson
import pyarrow.compute as pc

from overnight.schemas.algorithm import Change, Correct, Expand, Join, Reset
from overnight.schemas.errors import HistoryError
from overnight.schemas.feedback import Feedback, PromptRecord, sum_of_costs
from overnight.schemas.generation import Finalist, GenerationRecord, NightRecord, Pause, RunRecord, StopReason, flat
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome, count_outcomes
from overnight.schemas.program import NO_MODELS, NO_SCORE, QUESTION, Completion, Judged, Program, Prompt
from overnight.tasks.history import payments
from overnight.tasks.history.atomic_files import read_file, read_groups
from overnight.tasks.history.files import Block, RunFiles

Table = Literal["generation", "programs", "population"]
Row = dict[str, Any]

_ORDER = {"generation": "generation", "programs": "index", "population": "step"}


def run_row(run: RunRecord) -> Row:
    problem = run.problem
    return {
        "run_id": run.run_id,
        "problem": problem.name,
        "title": problem.settings.title,
        "started_at": run.started_at,
        "seed": run.seed,
        "settings": orjson.dumps(problem.settings.model_dump(mode="json")).decode(),
        "specification": problem.specification.text,
        "specification_hash": problem.hash,
        "specification_path": run.specification_path,
        "files": [(file.path, file.hash) for file in problem.files],
        "dependencies": problem.dependencies.packages,
        "image_id": run.image_id,
        "versions": list(run.versions.items()),
        "rescored_from": run.rescored_from,
    }


_COMPLETION_COLUMNS = (
    "model", "tokens_in", "tokens_out", "cost_usd", "latency_s", "finish_reason", "asked_at",
)  # fmt: skip
"""Columns of `tables.PROGRAMS` that are attributes of a completion."""


def program_row(run_id: str, record: GenerationRecord, judged: Judged) -> Row:
    candidate, verdict = judged.candidate, judged.verdict
    prompt, completion = candidate.prompt, candidate.completion
    return {name: getattr(completion, name) for name in _COMPLETION_COLUMNS} | {
        "run_id": run_id,
        "generation": record.number,
        "index": candidate.index,
        "program_id": judged.id,
        "parent_ids": prompt.parent_ids,
        "prompt": prompt.whole_text,
        "completion": completion.text,
        "body": candidate.body,
        "code_hash": candidate.code_hash,
        "outcome": verdict.outcome.value,
        "error": verdict.error,
        "output": verdict.output,
        "score": judged.score,
        "scores": [*verdict.scores, *[None] * verdict.skipped],
        "confirmed_score": judged.confirmed_score,
        "wall_s": verdict.wall_s,
        "cpu_s": verdict.cpu_s,
        "input_wall_s": verdict.input_wall_s,
        "peak_mib": verdict.peak_mib,
        "calls": verdict.calls or None,
        "judged_at": record.ended_at,
        "niche": prompt.niche,
        "idea": completion.idea,
        "operator": prompt.operator or None,
        "gain": judged.gain,
        "evaluations": completion.evaluations if completion.model in NO_MODELS else None,
        "tokens_cached": completion.tokens_cached,
        "transcript": completion.transcript or None,
        "machine": verdict.machine or None,
        "asked_model": prompt.model if prompt.model != completion.model else None,
        "claimed_scores": judged.claimed_scores or None,
        "metrics": list(judged.metrics.items()),
        "metrics_by_input": list(verdict.metrics.items()),
        "notes": verdict.notes,
        "confirmed_metrics": list(judged.confirmed_metrics.items()),
    }


def population_rows(run_id: str, record: GenerationRecord) -> list[Row]:
    """Return rows of `tables.POPULATION`, one per change, in order."""
    signatures = {judged.id: _cluster(judged.verdict.scores) for judged in record.judged}
    changes = [(prompt, change) for prompt in sorted(record.changes) for change in record.changes[prompt]]
    return [
        {
            "run_id": run_id,
            "generation": record.number,
            "step": step,
            "event": event,
            "program_id": program_id,
            "cluster": signatures.get(program_id),
            "niche": change.niche,
            "prompt": prompt,
            "samples": change.samples if isinstance(change, Expand) else None,
        }
        for step, (prompt, change) in enumerate(changes)
        for event, program_id in [_event_of(change)]
    ]


def _event_of(change: Change) -> tuple[str, str]:
    """Return the name of a change and the program that it is about."""
    match change:
        case Join(_, program_id):
            return "joined", program_id
        case Reset(_, founder_id):
            return "founded", founder_id
        case Expand(_, program_id, _):
            return "expanded", program_id
        case Correct(_, program_id, is_removed):
            return "removed" if is_removed else "corrected", program_id


def _cluster(scores: Sequence[float]) -> str:
    # Adding 0.0 turns -0.0 into 0.0, which is equal and must have the same hash.
    return hashlib.sha256(repr(tuple(score + 0.0 for score in scores)).encode()).hexdigest()[:12]


_GENERATION_COLUMNS = (
    "attempt", "night", "place", "started_at", "ended_at", "sample_s", "evaluate_s", "select_s", "flow_run_id",
    "prompts", "samples_in_flight",
)  # fmt: skip
"""Columns of `tables.GENERATIONS` that are attributes of a generation's record."""

_TOKEN_COLUMNS = ("tokens_in", "tokens_out", "tokens_cached")
"""Columns that are sums over what was paid."""


def generation_row(run_id: str, record: GenerationRecord, stored: Sequence[Completion] = ()) -> Row:
    """Return a row of `tables.GENERATIONS`, for a committed generation with its stored answers, or a failed attempt."""
    scores = [judged.score for judged in record.judged if judged.score is not None]
    resets = [change.niche for change in flat(record.changes) if isinstance(change, Reset) and record.number]
    paid = payments.committed(record, stored)
    tokens = {name: sum(getattr(one, name) for _, one in paid) for name in _TOKEN_COLUMNS}
    return (
        {name: getattr(record, name) for name in _GENERATION_COLUMNS}
        | tokens
        | {
            "run_id": run_id,
            "generation": record.number,
            "state": record.state,
            "candidates": sum(judged.candidate.completion.model not in NO_MODELS for judged in record.judged),
            "outcomes": list(count_outcomes([judged.verdict.outcome for judged in record.judged]).items()),
            "best_score": _known(record.best.score),
            "best_program_id": record.best.id,
            "generation_best": max(scores, default=None),
            "cost_usd": payments.usd(paid),
            "unused_usd": payments.usd(paid, (payments.UNUSED, QUESTION)),
            "paid": payments.sums_of(paid, record.night),
            "error": without_machine_paths(record.error),
            "reset_niches": resets,
            "agent": record.agent or None,
        }
    )


def question_row(run_id: str, generation: int, answer: Completion) -> Row:
    """Return a row of `tables.QUESTIONS`."""
    said = orjson.loads(answer.text)
    return {name: getattr(answer, name) for name in _ANSWER_COLUMNS} | {
        "run_id": run_id,
        "generation": generation,
        "key": answer.prompt_hash,
        "question": said["question"],
        "answer": said["answer"],
        "code_hash": said["code_hash"] or None,
        "input": said["input"],
    }


def answer_of_row(row: Row) -> Completion:
    """Return the answer of a row of `tables.QUESTIONS`, the inverse of `question_row`."""
    said = {name: row[name] for name in ("question", "answer", "input")} | {"code_hash": row["code_hash"] or ""}
    return Completion(
        prompt=-1,
        sample=0,
        prompt_hash=row["key"],
        text=orjson.dumps(said).decode(),
        latency_s=0.0,
        finish_reason=QUESTION,
        **{name: row[name] for name in _ANSWER_COLUMNS},
    )


_ANSWER_COLUMNS = ("model", *_TOKEN_COLUMNS, "cost_usd", "asked_at")


def without_machine_paths(text: str) -> str:
    """Replace the working directory by `.` and the home directory by `~`, since runs are copied to other machines."""
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", f"{short}/")
    return text


_NIGHT_COLUMNS = (
    "started_at", "ended_at", "generations", "samples", "cost_usd", "best_before", "best_after", "best_program_id",
    "error", "paused_s", "paused_by", "flow_run_id", "samples_in_flight", "first_generation", "warning", "alive_until",
)  # fmt: skip
"""Columns of `tables.NIGHTS` that are attributes of a night's record."""

_SPLITS = ("train", "validation", "held_out")


def _known(score: float) -> float | None:
    return None if score == NO_SCORE else score


def night_row(run_id: str, night: NightRecord) -> Row:
    return {name: getattr(night, name) for name in _NIGHT_COLUMNS} | {
        "best_before": _known(night.best_before),
        "best_after": _known(night.best_after),
        "run_id": run_id,
        "night": night.number,
        "finalists": [
            {"program_id": finalist.program.id, **{split: getattr(finalist, split) for split in _SPLITS}}
            for finalist in night.finalists
        ],
        "stop_reason": night.stop_reason.value if night.stop_reason else None,
        "error": without_machine_paths(night.error),
        "pauses": [{"cause": one.cause, "seconds": one.seconds} for one in night.pauses] or None,
        "machine_faults": [{"machine": name, "faults": faults} for name, faults in night.machine_faults],
        "samples_in_flight": night.samples_in_flight or None,
        "first_generation": night.first_generation or None,
    }


def night_of_row(row: Row, programs: Mapping[str, Program]) -> NightRecord:
    """Return the record of a row of `tables.NIGHTS`; the scored programs by id are for its finalists."""
    finalists = tuple(
        Finalist(programs[entry["program_id"]], *(entry[split] for split in _SPLITS))
        for entry in row["finalists"] or ()
        if entry["program_id"] in programs
    )
    reason = StopReason(row["stop_reason"]) if row["stop_reason"] else None
    faults = tuple((entry["machine"], entry["faults"]) for entry in row["machine_faults"] or ())
    columns: Row = {"best_before": NO_SCORE, "best_after": NO_SCORE}
    columns |= {key: row[key] for key in _NIGHT_COLUMNS if row[key] is not None}
    columns["pauses"] = tuple(Pause(**entry) for entry in row["pauses"] or ())
    return NightRecord(number=row["night"], finalists=finalists, stop_reason=reason, machine_faults=faults, **columns)


def read_rows(files: RunFiles, table: Table, generation: int) -> list[Row]:
    """Return the rows of one committed generation, in order."""
    return files.read_consistently(lambda blocks: _rows(files, blocks, table, generation))


def _rows(files: RunFiles, blocks: Sequence[Block], table: Table, generation: int) -> list[Row]:
    for block in blocks:
        if block.first <= generation <= block.last:
            parts = read_groups(block.folder / f"{table}.parquet", generation)
            rows = [row for part in parts for row in part.filter(pc.field("generation") == generation).to_pylist()]
            return sorted(rows, key=lambda row: row[_ORDER[table]])
    raise HistoryError(f"no folder {files.generation(generation)}", remedy="Restore it from a copy.")


def read_attempts(files: RunFiles) -> list[Row]:
    """Return the failed attempts, ordered by generation and attempt."""
    rows = [row for path in files.attempts() for row in read_file(path).to_pylist()]
    return sorted(rows, key=lambda row: (row["generation"], row["attempt"]))


def completions_of(programs: Sequence[Row], samples: int) -> list[Completion]:
    """Return the completions of a generation, as they were before evaluation, from its rows of `tables.PROGRAMS`."""
    return [
        Completion(
            prompt=row["index"] // samples,
            sample=row["index"] % samples,
            prompt_hash="",
            text=row["completion"],
            error=row["error"] if _has_no_answer(row) else "",
            evaluations=row["evaluations"] or 0,
            tokens_cached=row["tokens_cached"] or 0,
            transcript=row["transcript"] or "",
            **{name: row[name] for name in _COMPLETION_COLUMNS},
        )
        for row in programs
    ]


def prompts_of(programs: Sequence[Row], samples: int, bodies: Mapping[str, str]) -> dict[int, Prompt]:
    """Return the prompts of a generation by index, from its rows of `tables.PROGRAMS`, and bodies by id of program."""
    found: dict[int, Prompt] = {}
    for row in programs:
        index, parents, operator = row["index"] // samples, tuple(row["parent_ids"]), row["operator"] or ""
        base = next(iter(parents if operator == Operator.REPAIR else reversed(parents)), "")
        found[index] = Prompt(
            *(index, row["niche"], parents, row["asked_model"] or row["model"], "chat", row["prompt"]),
            seeds=(0,) * samples,
            base=bodies.get(base, ""),
            operator=operator,
        )
    return found


def _has_no_answer(row: Row) -> bool:
    """Return whether the error says why there is no text: the model refused, or an agent changed nothing.

    Without a text, it may also be what the parser said of it, which it would say again.
    """
    is_refused = row["finish_reason"] in {"refused", "lost"} or row["error"].startswith("refused: ")
    return row["outcome"] == Outcome.UNPARSABLE and (is_refused or not row["completion"])


def record_of_rows(programs: Sequence[Row]) -> PromptRecord:
    """Return how a prompt was asked and answered, from the rows of its candidates: at least one, in order."""
    first = programs[0]
    operator = first["operator"] or ""
    return PromptRecord(
        niche=first["niche"],
        operator=operator,
        model=first["asked_model"] or first["model"],
        answers=tuple(_answer(row, operator) for row in programs),
        tokens=sum(row["tokens_in"] + row["tokens_out"] for row in programs),
        cost_usd=sum_of_costs([row["cost_usd"] for row in programs]),
        evaluations=sum(row["evaluations"] or 0 for row in programs),
    )


def _answer(row: Row, operator: str) -> Feedback:
    parents = row["parent_ids"]
    return Feedback(
        parent_id=parents[-1] if parents else "",
        body=row["body"],
        outcome=Outcome(row["outcome"]),
        error=row["error"],
        output=row["output"],
        scores=tuple(score for score in row["scores"] or () if score is not None),
        score=row["score"],
        program_id=row["program_id"],
        idea=row["idea"] or "",
        failed_id=parents[0] if operator == Operator.REPAIR else "",
        metrics=metrics_of(row),
        notes=notes_of(row),
        cpu_s=row["cpu_s"] or 0.0,
        peak_mib=row["peak_mib"] or 0.0,
        input_wall_s=tuple(row["input_wall_s"] or ()),
    )


def metrics_of(row: Row) -> dict[str, float]:
    """Return the metrics of a row of `tables.PROGRAMS`, reduced and finite."""
    return {name: value for name, value in row["metrics"] or () if value is not None and math.isfinite(value)}


def notes_of(row: Row) -> tuple[str, ...]:
    """Return the notes of a row of `tables.PROGRAMS`."""
    return tuple(text or "" for text in row["notes"] or ())


def change_of(row: Mapping[str, Any]) -> Change:
    """Return the change of a row of `tables.POPULATION`, the inverse of `population_rows`."""
    match row["event"]:
        case "joined":
            return Join(row["niche"], row["program_id"])
        case "expanded":
            return Expand(row["niche"], row["program_id"], row["samples"] or 0)
        case "removed" | "corrected" as event:
            return Correct(row["niche"], row["program_id"], is_removed=event == "removed")
        case _:
            return Reset(row["niche"], row["program_id"])
