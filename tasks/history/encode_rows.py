"""Convert records of runs, generations, candidates, population changes and nights to table rows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from schemas.algorithm import Change, Correct, Expand, Join, Reset
from schemas.generation import GenerationRecord, NightRecord, RunRecord, flat
from schemas.outcome import count_outcomes
from schemas.program import TUNER, Judged


def run_row(run: RunRecord) -> dict[str, Any]:
    """Return a row of `tables.RUNS`."""
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


def program_row(run_id: str, record: GenerationRecord, judged: Judged) -> dict[str, Any]:
    """Return a row of `tables.PROGRAMS`."""
    candidate, verdict = judged.candidate, judged.verdict
    prompt, completion = candidate.prompt, candidate.completion
    return {
        "run_id": run_id,
        "generation": record.number,
        "index": candidate.index,
        "program_id": judged.id,
        "parent_ids": prompt.parent_ids,
        "model": completion.model,
        "prompt": prompt.whole_text,
        "completion": completion.text,
        "finish_reason": completion.finish_reason,
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
        "peak_mib": verdict.peak_mib,
        "tokens_in": completion.tokens_in,
        "tokens_out": completion.tokens_out,
        "cost_usd": completion.cost_usd,
        "latency_s": completion.latency_s,
        "asked_at": completion.asked_at,
        "judged_at": record.ended_at,
        "niche": prompt.niche,
        "idea": completion.idea,
        "operator": prompt.operator or None,
        "gain": judged.gain,
        "evaluations": completion.evaluations if completion.model == TUNER else None,
        "tokens_cached": completion.tokens_cached,
        "machine": verdict.machine or None,
        "asked_model": prompt.model if prompt.model != completion.model else None,
        "claimed_scores": judged.claimed_scores or None,
    }


def population_rows(run_id: str, record: GenerationRecord) -> list[dict[str, Any]]:
    """Return rows of `tables.POPULATION`, one per change, in order."""
    signatures = {judged.id: _cluster(judged.verdict.scores) for judged in record.judged}
    changes = [(prompt, change) for prompt in sorted(record.changes) for change in record.changes[prompt]]
    rows = []
    for step, (prompt, change) in enumerate(changes):
        event, program_id = _event_of(change)
        rows.append(
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
        )
    return rows


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


def generation_row(run_id: str, record: GenerationRecord) -> dict[str, Any]:
    """Return a row of `tables.GENERATIONS`, for a committed generation or a failed attempt."""
    completions = [judged.candidate.completion for judged in record.judged]
    scores = [judged.score for judged in record.judged if judged.score is not None]
    resets = [change.niche for change in flat(record.changes) if isinstance(change, Reset) and record.number]
    return {
        "run_id": run_id,
        "generation": record.number,
        "attempt": record.attempt,
        "night": record.night,
        "state": "failed" if record.error else "committed",
        "place": record.place,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "sample_s": record.sample_s,
        "evaluate_s": record.evaluate_s,
        "select_s": record.select_s,
        "candidates": sum(judged.candidate.completion.model != TUNER for judged in record.judged),
        "outcomes": list(count_outcomes([judged.verdict.outcome for judged in record.judged]).items()),
        "best_score": record.best.score,
        "best_program_id": record.best.id,
        "generation_best": max(scores, default=None),
        "tokens_in": sum(completion.tokens_in for completion in completions),
        "tokens_out": sum(completion.tokens_out for completion in completions),
        "cost_usd": sum(completion.cost_usd or 0.0 for completion in completions) + record.unused_usd,
        "flow_run_id": record.flow_run_id,
        "error": without_machine_paths(record.error),
        "reset_niches": resets,
        "tokens_cached": sum(completion.tokens_cached for completion in completions),
        "unused_usd": record.unused_usd,
    }


def without_machine_paths(text: str) -> str:
    """Replace the working directory by `.` and the home directory by `~`, since runs are copied to other machines."""
    for folder, short in ((Path.cwd(), "."), (Path.home(), "~")):
        if len(folder.parts) > 1:
            text = text.replace(f"{folder}/", f"{short}/")
    return text


def night_row(run_id: str, night: NightRecord) -> dict[str, Any]:
    """Return a row of `tables.NIGHTS`."""
    return {
        "run_id": run_id,
        "night": night.number,
        "started_at": night.started_at,
        "ended_at": night.ended_at,
        "generations": night.generations,
        "samples": night.samples,
        "cost_usd": night.cost_usd,
        "best_before": night.best_before,
        "best_after": night.best_after,
        "best_program_id": night.best_program_id,
        "finalists": [
            {
                "program_id": finalist.program.id,
                "train": finalist.train,
                "validation": finalist.validation,
                "held_out": finalist.held_out,
            }
            for finalist in night.finalists
        ],
        "stop_reason": night.stop_reason.value if night.stop_reason else None,
        "error": without_machine_paths(night.error),
        "paused_s": night.paused_s,
        "paused_by": night.paused_by,
        "flow_run_id": night.flow_run_id,
        "machine_faults": [{"machine": name, "faults": faults} for name, faults in night.machine_faults],
        "samples_in_flight": night.samples_in_flight or None,
        "first_generation": night.first_generation or None,
        "warning": night.warning,
    }
