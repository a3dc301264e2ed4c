"""Replay of a run from its recorded completions: no model is asked, everything else is done again and compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

from overnight.flows.night.block import Block, Pairs
from overnight.flows.night.final_evaluation import judge_finalists
from overnight.flows.night.finalists import Ranking
from overnight.flows.night.open_run import OpenRun, open_run
from overnight.flows.night.pruning import judge_pruned, prompt_of
from overnight.flows.night.recorded_run import RecordedRun
from overnight.flows.night.recorded_verdicts import (
    RecordedVerdicts,
    recorded_verdict,
    with_recorded_texts,
)
from overnight.flows.night.rescore import score_kept
from overnight.flows.night.turns import prompts_in_flight
from overnight.flows.start.create_run import RULES, score_start, start_generation, versions
from overnight.flows.start.judging import judge_of
from overnight.flows.start.origin import problem_path
from overnight.flows.start.sandboxes import image_id
from overnight.schemas.errors import UsageError
from overnight.schemas.generation import GenerationRecord, NightRecord, RunRecord, Step
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, is_stopped_by_deadline
from overnight.schemas.program import NO_MODELS, Judged, Program, Prompt
from overnight.schemas.question import Ask
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.differences import Comparison, Difference, compare
from overnight.tasks.history.files import files_of
from overnight.tasks.history.interventions import write_interventions
from overnight.tasks.history.journal import Journal
from overnight.tasks.history.rows import Row, completions_of, read_rows
from overnight.tasks.sample.completion_sources import RecordedCompletions
from overnight.tasks.sample.sampler import to_candidates
from overnight.tasks.select.selection import Survivor

_BATCHES_AT_A_TIME = 32


@contextmanager
def open_replay(then: RecordedRun, into: HistoryBackend) -> Iterator[OpenRun]:
    """Begin the run again in another history, with its start program scored anew and nothing else.

    Raises:
        UsageError: If that history has the run.
        SpecificationError: If the start program has no score any more.
        EnvironmentFault: If there is no sandbox.
    """
    files = files_of(into, then.run.run_id)
    if files.run.exists():
        raise UsageError(
            f"{into.location} has {then.run.run_id} already",
            remedy="Name a history without it: overnight replay RUN --into DIR",
        )
    problem = then.run.problem
    answers = stored_run.read_answers(then.files)
    ask = judge_of(problem, answers).ask
    verdict = score_start(problem, problem_path(then.run), seed=then.run.seed, run_id=then.run.run_id, ask=ask)
    first = read_rows(then.files, "programs", 0)[0]
    verdict = with_recorded_texts(verdict, recorded_verdict(first, verdict))
    run = replace(then.run, image_id=image_id(problem.settings.sandbox), versions=versions(problem.settings))
    start = then.with_answers(start_generation(run, verdict))
    record.create(files, run, start, *_given(then, run, start, ask))
    for number, prompts in then.past.lengths.items():
        Journal(files.journal(number), files.backend).end_early(prompts, then.past.sessions.get(number, ""))
    if then.past.interventions:
        write_interventions(files, then.past.interventions)

    def recorded(number: int) -> RecordedCompletions:
        rows = read_rows(then.files, "programs", number)
        return RecordedCompletions(completions_of(rows, run.problem.settings.candidates_per_prompt))

    with open_run(files, source=recorded, answers=answers) as opened:
        yield opened


def _given(then: RecordedRun, run: RunRecord, start: GenerationRecord, ask: Ask | None) -> list[GenerationRecord]:
    """Score the programs again that the run was begun with beside its start program."""
    if not run.given:
        return []
    niches: defaultdict[str, list[str]] = defaultdict(list)
    rows = read_rows(then.files, "programs", 1)
    for row in read_rows(then.files, "population", 1):
        niches[row["program_id"]].append(row["niche"])
    kept = [
        Survivor(
            Program(row["parent_ids"][0] if row["parent_ids"] else "", row["body"], (), 0.0),
            tuple(niches[row["program_id"]] or [row["niche"]]),
        )
        for row in rows
    ]
    return [then.with_answers(score_kept(run, start, kept, ask=ask, recorded=then.verdicts_of(rows)))]


def replay(then: RecordedRun, run: OpenRun) -> Comparison:
    """Repeat every night, generation by generation, in an open run with nothing but the start program; compare the two.

    Raises:
        SandboxUnavailable: If the engine is at fault.
    """
    steps, winner = list(then.past.steps), ""
    for number in then.nights:
        _take_drops(then, run, night=None)
        before = run.state.best
        night = stored_run.read_night(then.files, number, {})
        record.write_night(run.files, night)  # a history that is read again during it has its samples in flight
        run.state.planner.widen(prompts_in_flight(run.run, night.samples_in_flight))
        while steps and then.night_of(steps[0]) <= number:
            _repeat(then, run, steps.pop(0), number)
            _take_drops(then, run, night=number)
        night = stored_run.read_night(then.files, number, run.state.programs)
        night = replace(night, best_before=before.score)
        night = _ended(then, night, run) if then.counts_all_of(night) else night
        record.write_night(run.files, night)
        winner = night.best_program_id
    in_search = {one.rows[index]["program_id"] for one in then.verdicts for index in one.taken}
    in_finals = [program_id for one in then.finals for program_id in one.taken]
    best = next((one for one in (winner, run.state.best.id) if one in in_search.union(in_finals)), "")
    decided = len(in_search) + len(in_finals)
    return replace(compare(then.files, run.files, then.ends), decided_by_time=decided, best_by_time=best)


def _take_drops(then: RecordedRun, run: OpenRun, night: int | None) -> None:
    """Go on without the programs that were dropped after the last generation, by a night or between two."""
    if any(one.place == run.state.place - 1 and one.night == night for one in then.past.drops):
        _read_again(run)


def _read_again(run: OpenRun) -> None:
    run.state.adopt(stored_run.read_run_history(run.files, samples=run.run.problem.settings.candidates_per_prompt))


def _ended(then: RecordedRun, night: NightRecord, run: OpenRun) -> NightRecord:
    ended = replace(night, best_after=run.state.best.score, best_program_id=run.state.best.id)
    if not night.finalists:
        return ended
    run.progress.enter("final")
    ranking = Ranking.of(run.run.problem, run.state.start, then.run.versions.get(RULES, ""))
    finalists = judge_finalists(run, recorded=then.scores_of(night), ranking=ranking)
    best = finalists[0].program if finalists else run.state.best
    return replace(ended, finalists=finalists, best_program_id=best.id)


def _repeat(then: RecordedRun, run: OpenRun, step: Step, night: int) -> None:
    """Repeat one generation. That it failed, and why, is taken from the record."""
    if step.generation <= run.run.given:
        return
    has_failed = run.files.failed_attempts(step.generation)
    if step.is_put_off:
        _put_off(run, then.place_of(step))
        return
    for row in then.failures_until(step)[has_failed:]:
        record.record_failure(run.files, _failure(row, run))
    if not step.is_committed:
        record.give_up(run.files, step.generation, run.state.place)
        run.state.give_up(step.generation)
        return
    if not run.state.is_in_order(step.generation):
        _read_again(run)
    _commit(then, run, step.generation, night)


def _put_off(run: OpenRun, row: Row) -> None:
    """Let an agent's session have its place without an answer, as it had."""
    session = replace(_failure(row, run), place=run.state.place, prompts=row["prompts"], agent=row["agent"])
    record.put_off(run.files, session)
    run.state.put_off_session(session.number)


def _failure(row: Row, run: OpenRun) -> GenerationRecord:
    kept = {name: row[name] for name in ("attempt", "night", "started_at", "ended_at", "flow_run_id", "error")}
    return GenerationRecord(number=row["generation"], best=run.state.best, **kept)


def _commit(then: RecordedRun, run: OpenRun, number: int, night: int) -> None:
    started_at = datetime.now(UTC)
    rows = read_rows(then.files, "programs", number)
    verdicts = then.verdicts_of(rows)
    cut = {row["index"]: row for row in rows if is_stopped_by_deadline(row["outcome"], row["error"])}
    # What was evaluated and not confirmed in time is evaluated again: the search went on with its score.
    run.evaluator.leave_out(number, [index for index, row in cut.items() if not row.get("claimed_scores")])
    run.stores.open(number)
    block = Block(run.state, number, rules=verdicts, recorded=then.prompts_of(rows))
    block.resets = bool(then.committed[number]["reset_niches"])
    with ThreadPoolExecutor(_BATCHES_AT_A_TIME, "overnight-replay") as threads:
        while not block.is_told:
            for prompts, pairs in threads.map(partial(_evaluate, then, run, number, rows), block.due()):
                block.receive(prompts, verdicts.evaluated(pairs))
            block.advance()
            for claim in block.wanted:
                is_cut = claim.candidate.index in cut
                block.confirm(claim.id, STOPPED_BY_DEADLINE if is_cut else run.confirmer.run_again(claim, number))
    base = GenerationRecord(
        number,
        attempt=run.files.failed_attempts(number) + 1,
        night=night,
        started_at=started_at,
        ended_at=datetime.now(UTC),
        best=run.state.best,
        samples_in_flight=then.committed[number]["samples_in_flight"],
    )
    generation = block.record(base)
    generation = replace(generation, judged=tuple(map(verdicts.completed, generation.judged)))
    generation = then.with_answers(generation)
    run.state.settle(generation)
    if pruned := _pruned(then, run, number, rows, verdicts):
        generation = run.state.take_pruned(generation, pruned)
    run.write(generation)
    run.committed(generation)
    outcomes = [one.verdict.outcome for one in generation.judged if one.candidate.completion.model not in NO_MODELS]
    run.progress.committed(number, outcomes, generation.best)


def _pruned(
    then: RecordedRun, run: OpenRun, number: int, rows: Sequence[Row], verdicts: RecordedVerdicts
) -> Judged | None:
    """Repeat what came of pruning the best program after a generation; `None` if that was not done."""
    row = next((row for row in rows if row["operator"] == Operator.PRUNE), None)
    if row is None:
        return None
    prompt = prompt_of(run, run.state.programs[row["parent_ids"][-1]])
    prompt = then.prompts_of(rows).get(prompt.index, prompt)
    completions = completions_of([row], run.run.problem.settings.candidates_per_prompt)
    candidates = then.as_read(to_candidates([prompt], completions, run.run.problem), rows)
    trials = [one.verdict or run.evaluator.submit_trial(one.body).result() for one in candidates]
    ((candidate, verdict),) = verdicts.evaluated(list(zip(candidates, trials, strict=True)))
    return verdicts.completed(judge_pruned(run, number, candidate, verdict, verdicts))


def _evaluate(
    then: RecordedRun, run: OpenRun, number: int, rows: Sequence[Row], prompts: Sequence[Prompt]
) -> tuple[Sequence[Prompt], Pairs]:
    candidates = then.as_read(run.sampler.sample(number, prompts), rows)
    return prompts, run.evaluator.evaluate(candidates, number)


def likely_causes(then: RecordedRun, run: OpenRun, first: Difference) -> list[str]:
    """Return likely causes of the first difference, the likeliest first."""
    outcomes = {first.recorded.get("outcome"), first.repeated.get("outcome")}
    causes = []
    if any(one.facts.limits for one in Outcome if one in outcomes):
        causes.append("the program is at the edge of its limits, which another machine or kernel moves")
    if first.table == "programs" and set(first.recorded) <= _MEASURED:
        causes.append("the program, or its scoring, says something else each time, such as a time that it measures")
    if first.table == "nights" and _is_scored(first.recorded) != _is_scored(first.repeated):
        causes.append("a program of the final evaluation is at the edge of its limits, and has a score one time only")
    changed = _changed_since(then, run)
    if outcomes == {None} and {"score", "scores", "confirmed_score"} & set(first.recorded):
        causes.append(_chance(then))
    if changed:
        causes.append(f"not the same as then: {', '.join(changed)}")
    elif not causes or "score" in first.recorded:
        causes.append("image and versions are the same as then, so the files may have been changed since")
    return causes


def _is_scored(night: Row) -> list[tuple[bool, bool]]:
    """Return whether each program of a night's final evaluation has a score on the validation and held-out inputs."""
    return [(one["validation"] is not None, one["held_out"] is not None) for one in night.get("finalists", ())]


_MEASURED = {"output", "error", "notes", "metrics", "metrics_by_input", "confirmed_metrics"}
"""Columns of a program that may tell what was measured, and so differ each time."""


def _chance(then: RecordedRun) -> str:
    noise = then.run.problem.settings.noise
    known = f", for which the problem allows {noise:g} an input" if noise else "; `overnight check` looks for it"
    return f"the score depends on chance or the clock{known}"


def _changed_since(then: RecordedRun, run: OpenRun) -> list[str]:
    now = run.run
    changed = [
        f"{name} {then.run.versions.get(name, 'of no known version')}, now {version}"
        for name, version in now.versions.items()
        if then.run.versions.get(name) != version
    ]
    return changed + ["the sandbox image"] * (then.run.image_id != now.image_id)
