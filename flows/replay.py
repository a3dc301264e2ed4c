"""Replay of a run from its recorded completions: no model is asked, everything else is done again and compared."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

from flows.create_run import score_start, start_generation, versions
from flows.final_evaluation import judge_finalists
from flows.generation_attempt import GenerationAttempt, Pairs
from flows.images import image_id
from flows.origin import problem_path
from flows.rescore import score_kept
from flows.session import Session, open_session
from schemas.errors import UsageError
from schemas.generation import GenerationRecord, NightRecord, RunHistory, RunRecord, Step
from schemas.history_backend import HistoryBackend
from schemas.outcome import Outcome, Verdict, is_cut_short
from schemas.program import Judged, Program, Prompt
from tasks.history import record
from tasks.history.decode_rows import Row, completions_of, read_attempts, read_rows
from tasks.history.differences import Comparison, Difference, compare
from tasks.history.files import RunFiles, files_of
from tasks.sample.recorded_completions import RecordedCompletions
from tasks.select.survivors import Survivor

_BATCHES_AT_A_TIME = 32


@dataclass(frozen=True)
class RecordedRun:
    """The record of a run when its replay begins.

    Attributes:
        committed: Row of each committed generation, by number.
        failed: Rows of attempts that failed.
    """

    files: RunFiles
    run: RunRecord
    past: RunHistory
    committed: dict[int, Row]
    failed: list[Row]

    @property
    def ends(self) -> list[int]:
        """Numbers of committed generations, 0 included, in the order of their commits."""
        return [0, *(step.generation for step in self.past.steps if step.is_committed)]

    def night_of(self, step: Step) -> int:
        if step.is_committed:
            return self.committed[step.generation]["night"]
        return self._given_up(step)["night"]

    def failures_until(self, step: Step) -> list[Row]:
        """Return the attempts at a generation that had failed when it ended this way."""
        mine = [row for row in self.failed if row["generation"] == step.generation]
        last = self.committed[step.generation] if step.is_committed else self._given_up(step)
        return [row for row in mine if row["attempt"] <= last["attempt"]]

    def _given_up(self, step: Step) -> Row:
        return next(row for row in self.failed if row["generation"] == step.generation and row["place"] is not None)


def read_recorded_run(files: RunFiles) -> RecordedRun:
    """Read the record of a run that is to be replayed.

    Raises:
        HistoryError: If a file is missing or damaged.
    """
    past = record.read_run_history(files)
    numbers = [0, *(step.generation for step in past.steps if step.is_committed)]
    committed = {number: read_rows(files, "generation", number)[0] for number in numbers}
    return RecordedRun(files, record.read_run(files), past, committed, read_attempts(files))


@contextmanager
def open_replay(then: RecordedRun, into: HistoryBackend) -> Iterator[Session]:
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
    verdict = score_start(problem, problem_path(then.run), seed=then.run.seed, run_id=then.run.run_id)
    run = replace(then.run, image_id=image_id(problem.settings.sandbox), versions=versions())
    start = start_generation(run, verdict)
    record.create(files, run, start, *_given(then, run, start))

    def recorded(number: int) -> RecordedCompletions:
        rows = read_rows(then.files, "programs", number)
        return RecordedCompletions(completions_of(rows, run.problem.settings.search.samples))

    with open_session(files, source=recorded) as session:
        yield session


def _given(then: RecordedRun, run: RunRecord, start: GenerationRecord) -> list[GenerationRecord]:
    """Score the programs again that the run was begun with beside its start program."""
    if not run.given:
        return []
    niches: defaultdict[str, list[str]] = defaultdict(list)
    for row in read_rows(then.files, "population", 1):
        niches[row["program_id"]].append(row["niche"])
    kept = [
        Survivor(
            Program(row["parent_ids"][0], row["body"], (), 0.0),
            tuple(niches[row["program_id"]] or [row["niche"]]),
        )
        for row in read_rows(then.files, "programs", 1)
    ]
    return [score_kept(run, start, kept)]


def replay(then: RecordedRun, session: Session) -> Comparison:
    """Repeat every night, generation by generation, and compare the two histories.

    Args:
        then: The record.
        session: Session of the repeated run, which has nothing but the start program.

    Raises:
        SandboxUnavailable: If the engine is at fault.
    """
    steps = list(then.past.steps)
    for number in then.files.night_numbers():
        session.control.begin_replayed(number)
        before = session.state.best
        while steps and then.night_of(steps[0]) <= number:
            _repeat(then, session, steps.pop(0))
        night = record.read_night(then.files, number, session.state.programs)
        night = replace(night, best_before=before.score, best_after=before.score, best_program_id=before.id)
        record.write_night(session.files, _ended(night, session) if night.ended_at else night)
    return compare(then.files, session.files, then.ends)


def _ended(night: NightRecord, session: Session) -> NightRecord:
    ended = replace(night, best_after=session.state.best.score, best_program_id=session.state.best.id)
    if not night.finalists:
        return ended
    session.progress.enter("final")
    finalists = judge_finalists(session)
    return replace(ended, finalists=finalists, best_program_id=finalists[0].program.id)


def _repeat(then: RecordedRun, session: Session, step: Step) -> None:
    """Repeat one generation. That it failed, and why, is taken from the record."""
    if step.generation <= session.run.given:
        return
    has_failed = session.files.failed_attempts(step.generation)
    for row in then.failures_until(step)[has_failed:]:
        record.record_failure(session.files, _failure(row, session))
    if step.is_committed:
        _commit(then, session, step.generation)
    else:
        session.state.give_up(step.generation)


def _failure(row: Row, session: Session) -> GenerationRecord:
    kept = {name: row[name] for name in ("attempt", "night", "started_at", "ended_at", "flow_run_id", "error")}
    return GenerationRecord(number=row["generation"], best=session.state.best, **kept)


def _commit(then: RecordedRun, session: Session, number: int) -> None:
    """Repeat a generation with completions from the record."""
    rows = read_rows(then.files, "programs", number)
    cut = {row["index"]: row for row in rows if is_cut_short(row["outcome"], row["error"])}
    session.resources.evaluator.leave_out(number, cut)
    with ThreadPoolExecutor(_BATCHES_AT_A_TIME, "overnight-replay") as threads:
        stages = RepeatedStages(session, number, cut, threads)
        is_reset = bool(then.committed[number]["reset_niches"])
        by_the_hour = session.search.algorithm.resets_by_the_hour
        GenerationAttempt(session, number, stages, is_reset_due=(lambda: is_reset) if by_the_hour else None).run()


@dataclass(frozen=True)
class RepeatedBatch:
    """A batch of recorded completions that is evaluated again."""

    evaluated: Future[Pairs]

    def result(self) -> Pairs:
        """Wait for the verdicts."""
        return self.evaluated.result()

    def result_if_any(self) -> Pairs | None:
        """Return the verdicts of a batch that is done; `None` if it failed."""
        return None if self.evaluated.exception() else self.evaluated.result()

    def when_done(self, call: Callable[[], None]) -> None:
        """Call a function once the batch is done."""
        self.evaluated.add_done_callback(lambda _: call())


class RepeatedStages:
    """The work of a generation without Prefect and without models.

    Args:
        session: The open run that repeats the record.
        number: Number of the generation.
        cut: Recorded rows of candidates that a deadline cut short, by index; a replay has no deadline.
        threads: Threads for batches.
    """

    sampled_at = 0.0

    def __init__(self, session: Session, number: int, cut: Mapping[int, Row], threads: Executor) -> None:
        self._session = session
        self._number = number
        self._cut = cut
        self._threads = threads

    def begin(self, batch: int, prompts: Sequence[Prompt]) -> RepeatedBatch:  # noqa: ARG002
        """Begin to evaluate the recorded completions of a batch."""
        return RepeatedBatch(self._threads.submit(self._evaluate, prompts))

    def _evaluate(self, prompts: Sequence[Prompt]) -> Pairs:
        candidates = self._session.sampler.sample(self._number, prompts)
        return self._session.resources.evaluator.judge(candidates, self._number)

    def confirm(self, judged: Sequence[Judged]) -> list[Judged]:
        """Confirm as in the night."""
        confirmer, best = self._session.resources.confirmer, self._session.state.niche_bests
        return confirmer.confirm(judged, best, self._number) if confirmer else list(judged)

    def commit(self, record: GenerationRecord) -> None:
        """Commit the generation."""
        self._session.commit(replace(record, judged=tuple(map(self._as_recorded, record.judged))))

    def _as_recorded(self, judged: Judged) -> Judged:
        """Return a candidate that a deadline cut short as it was recorded."""
        row = self._cut.get(judged.candidate.index)
        if row is None:
            return judged
        verdict = Verdict(Outcome.SANDBOX_ERROR, error=row["error"], output=row["output"])
        return replace(judged, verdict=verdict, score=None, confirmed_score=row["confirmed_score"])


def likely_causes(then: RecordedRun, session: Session, first: Difference) -> list[str]:
    """Return likely causes of a difference, the likeliest first.

    Args:
        then: The record.
        session: Session of the replay.
        first: The first difference.
    """
    outcomes = {first.recorded.get("outcome"), first.repeated.get("outcome")}
    causes = []
    if Outcome.SANDBOX_ERROR in outcomes:
        causes.append("the sandbox failed one of the two times, through no fault of the program's")
    if outcomes & {Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT}:
        causes.append("the program is at the edge of its limits, which a faster or slower machine moves")
    if outcomes == {None} and {"score", "scores", "confirmed_score"} & set(first.recorded):
        causes.append(_chance(then))
    if set(first.recorded) <= {"output", "error"} and first.table == "programs":
        causes.append("the program says something else each time, such as an address in memory or the time")
    changed = _changed_since(then, session)
    causes.append(
        f"not the same as then: {', '.join(changed)}"
        if changed
        else "image and versions are the same as then, so the files may have been changed since"
    )
    return causes


def _chance(then: RecordedRun) -> str:
    noise = then.run.problem.settings.noise
    known = f", for which the problem allows {noise:g} an input" if noise else "; `overnight check` looks for it"
    return f"the score depends on chance or the clock{known}"


def _changed_since(then: RecordedRun, session: Session) -> list[str]:
    now = session.run
    changed = [
        f"{name} {then.run.versions.get(name, 'of no known version')}, now {version}"
        for name, version in now.versions.items()
        if then.run.versions.get(name) != version
    ]
    return changed + ["the sandbox image"] * (then.run.image_id != now.image_id)
