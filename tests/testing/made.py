"""Create histories from a seed, without models, sandboxes and clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any

from overnight.flows.night.turns import turns_of
from overnight.schemas.algorithm import Change, Join, Reset, Turn
from overnight.schemas.algorithm_settings import FunSearchSettings
from overnight.schemas.generation import GenerationRecord, NightRecord, RunRecord, StopReason
from overnight.schemas.history_backend import HistoryBackend
from overnight.schemas.ids import program_id
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.problem import Problem
from overnight.schemas.program import QUESTION, Candidate, Completion, Judged, Program, Prompt
from overnight.schemas.scores import reduce_scores
from overnight.tasks.history import record, stored_run
from overnight.tasks.history.backends import open_history
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.tasks.program import python_source
from overnight.testing.population import Population

NOW = datetime(2026, 1, 1, 22, tzinfo=UTC)
TOY = Path(__file__).with_name("toy.py")
FAULTS = [outcome for outcome in Outcome if outcome is not Outcome.SCORED]


def search_table(**fields: Any) -> dict[str, Any]:
    """Return settings of the search, with those of its islands in the table of the algorithm."""
    of_islands = FunSearchSettings.model_fields.keys() & fields.keys()
    given = fields.pop("algorithm", {})
    algorithm = {"name": given} if isinstance(given, str) else dict(given)
    return fields | {"algorithm": algorithm | {name: fields.pop(name) for name in of_islands}}


def a_problem(*, sampling: Mapping[str, Any] | None = None, **search: object) -> Problem:
    problem = load_problem(TOY, {"search": search_table(**search)})
    if not sampling:
        return problem
    changed = problem.settings.sampling.model_copy(update=dict(sampling))
    return replace(problem, settings=problem.settings.model_copy(update={"sampling": changed}))


def turn_of(serial: int, run: RunRecord) -> Turn:
    """Return the generation and the index of a turn by its number from 0, where no generation ends early."""
    before, index = divmod(serial, turns_of(run))
    return Turn(before + 1 + run.given, index)


def a_judged(
    run_id: str,
    generation: int,
    index: int,
    *,
    scores: Sequence[float] = (),
    niche: str = "0",
    parents: Sequence[str] = (),
    body: str | None = None,
    outcome: Outcome = Outcome.SCORED,
    text: str = "",
    model: str = "test/model",
    clock: datetime = NOW,
    cost_usd: float | None = 0.5,
) -> Judged:
    """Return a judged candidate, scored if it has scores."""
    outcome = Outcome.SCORED if scores else outcome
    if body is None:
        body = "" if outcome is Outcome.UNPARSABLE else f"return {generation} + {index}"
    prompt = Prompt(index, niche, tuple(parents), model, "chat", f"improve, {generation}/{index}", (index,))
    completion = Completion(
        index, 0, "hash", text or body, model, 100, 10, cost_usd, 0.25, "stop", clock - timedelta(minutes=1)
    )
    code_hash = python_source.code_hash(body) if body else ""
    verdict = Verdict(
        outcome, tuple(scores), error="" if scores else f"it is {outcome.value}", wall_s=0.5, cpu_s=0.25, peak_mib=32.0
    )
    score = reduce_scores(scores, "mean") if scores else None
    return Judged(
        program_id(run_id, generation, index),
        Candidate(index, prompt, completion, body, code_hash, None),
        verdict,
        score,
    )


def an_answer(cost_usd: float | None = 0.25) -> Completion:
    """Return a model's answer to a question of a scoring."""
    text = '{"question": "how near?", "answer": "7", "input": 1, "code_hash": "abc"}'
    return Completion(-1, 0, "key", text, "test/judge", 30, 4, cost_usd, 0.0, QUESTION, NOW, tokens_cached=20)


def a_generation(
    number: int,
    judged: Sequence[Judged],
    best: Program,
    changes: Sequence[Change] = (),
    clock: datetime = NOW,
    **more: object,
) -> GenerationRecord:
    record = GenerationRecord(
        number,
        1,
        1,
        clock,
        clock + timedelta(minutes=number),
        best=best,
        judged=tuple(judged),
        changes={0: tuple(changes)} if changes else {},
        place=None if "error" in more else number,
    )
    return replace(record, **more)  # pyright: ignore[reportArgumentType]


def a_run(run_id: str, problem: Problem, *, seed: int = 7, clock: datetime = NOW) -> RunRecord:
    return RunRecord(run_id, problem, seed, clock, "/there/toy.py", "sha256:abc", {"python": "3.11", "overnight": "0"})


def run_at(directory: Path) -> RunFiles:
    """Return the files of the run in a directory of a history, which may be a copy."""
    return files_of(open_history(str(directory.parents[1])), directory.name)


def create(
    history: Path | HistoryBackend,
    run_id: str = "20260101-2200-toy-aaaa",
    clock: datetime = NOW,
    *,
    sampling: Mapping[str, Any] | None = None,
    **search: object,
) -> RunFiles:
    """Create a run with generation 0."""
    problem = a_problem(sampling=sampling, **search)
    files = files_of(LocalBackend(history) if isinstance(history, Path) else history, run_id)
    body = problem.specification.start_body
    start = a_judged(run_id, 0, 0, scores=(-9.0, -9.0), body=body, model="", clock=clock, cost_usd=0.0)
    changes = [Join(niche, start.id) for niche in problem.settings.search.algorithm.founded_niches]
    record.create(
        files,
        a_run(run_id, problem, clock=clock),
        a_generation(0, [start], start.program(), changes, clock, night=0),
    )
    return files


def rebuilt(files: RunFiles) -> Population:
    """Return the population, rebuilt from the files."""
    run, past = stored_run.read_run(files), stored_run.read_run_history(files)
    population = Population(run.problem.settings.search, past.start, run.seed)
    for step in past.steps:
        population.replay(step.all_changes, past.programs)
    return population


def grow(files: RunFiles, generations: int, *, seed: int = 0, clock: datetime = NOW) -> Population:
    """Commit generations in which some children are scored and some fail; every second one ends with a reset.

    Returns:
        The population after them, as it developed in memory.
    """
    past, population = stored_run.read_run_history(files), rebuilt(files)
    best = max(past.programs.values(), key=lambda program: program.score)
    for number in range(past.generations + 1, past.generations + 1 + generations):
        random = Random(f"{seed}/{number}")
        judged = [
            a_judged(
                files.run_id,
                number,
                index,
                scores=(random.choice((-3.0, -2.0, 0.0, -0.0, 1.5)), random.choice((-1.0, 0.5)))
                if random.random() < 0.7
                else (),
                outcome=random.choice(FAULTS),
                niche=plan.niche,
                parents=[parent.id for parent in plan.shown],
                model=random.choice(("test/cheap", "test/dear")),
                clock=clock,
                cost_usd=random.choice((None, 0.25)),
            )
            for index, plan in enumerate(population.ask(number))
        ]
        children = [(int(child.candidate.prompt.niche), child.program()) for child in judged if child.score is not None]
        changes = population.tell(number, children, reset=number % 2 == 0)
        best = max([best, *(program for _, program in children)], key=lambda program: program.score)
        record.commit(files, a_generation(number, judged, best, changes, clock))
    return population


def finish_nights(files: RunFiles, count: int) -> None:
    """Write the records of nights that found nothing better, and ended after their generations."""
    best = stored_run.read_run_history(files).start
    for number in range(1, count + 1):
        night = NightRecord(number, NOW + timedelta(days=number), best.score, best.score, best.id)
        record.write_night(files, replace(night, stop_reason=StopReason.GENERATIONS, ended_at=NOW + timedelta(days=9)))


def grow_with_a_retry(files: RunFiles) -> dict[int, list[Program]]:
    """Commit generations 1, 3 and 4, and in a second night 2, which had failed and gets the best program.

    Niche 0 is reset by generation 4. A second program of generation 2 has the score of that of generation 4, and a
    third one repeats that of generation 3.

    Returns:
        The scored programs of each generation.
    """
    best = stored_run.read_run_history(files).start
    found = {0: [best]}
    scores = {1: (-5.0,), 3: (-4.0,), 4: (-3.0,), 2: (1.0, -3.0)}
    for place, number in ((1, 1), (3, 3), (4, 4), (5, 2)):
        judged = [
            a_judged(files.run_id, number, index, scores=(score, score), parents=[best.id])
            for index, score in enumerate(scores[number])
        ]
        found[number] = [one.program() for one in judged]
        best = max([best, *found[number]], key=lambda program: program.score)
        changes: list[Change] = [Join("0", program.id) for program in found[number]]
        if number == 2:
            body = found[3][0].body
            judged.append(a_judged(files.run_id, 2, 2, body=body, outcome=Outcome.DUPLICATE, parents=[best.id]))
        if number == 4:
            changes.append(Reset("0", found[0][0].id))
        if number == 3:
            record.record_failure(files, a_generation(2, [], best, error="no answer"))
            record.give_up(files, 2, 2)
        night, clock = (2, NOW + timedelta(days=1)) if number == 2 else (1, NOW)
        record.commit(files, a_generation(number, judged, best, changes, clock, place=place, night=night))
    return found


def portrait(population: Population) -> list[tuple[list[tuple[tuple[float, ...], list[str]]], int, str]]:
    """Return the whole state of a population in comparable form."""
    return [
        (
            [(signature, [program.id for program in programs]) for signature, programs in island.by_signature.items()],
            len(island.programs),
            island.best.id,
        )
        for island in population.islands
    ]
