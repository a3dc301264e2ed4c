"""What a run keeps open from one generation to the next: sandboxes, models, the population, the files."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from flows.progress import Progress
from flows.round import Round
from schemas.generation import GenerationRecord, Past, RunRecord
from schemas.outcome import Outcome
from schemas.problem import Problem, Split
from schemas.program import Completion, Program, Prompt, Selection
from schemas.settings import Search
from tasks.evaluate.batch import Evaluator
from tasks.evaluate.pool import SandboxPool, open_pool
from tasks.history import record
from tasks.history.files import RunFiles
from tasks.history.journal import Journal
from tasks.sample.gateway import Gateway
from tasks.sample.prompts import build_prompts
from tasks.sample.purchase import Purchase
from tasks.select.islands import Population


@dataclass
class Session:
    """One run, open in this process. Only the process that holds the run's lock has one.

    Attributes:
        best: The best program of the run so far, alive or not.
        generations: How many are committed.
        threads: One for each slot.
        hashes: Of every body that was judged.
        may_begin: Whether a generation to come will be begun, as far as can be known now.
        budget_usd: What the night may spend; `None` means as much as it likes.
        last_reset: `time.monotonic()` of the last reset, for resets by the hour.
    """

    files: RunFiles
    run: RunRecord
    gateway: Gateway
    sandbox: SandboxPool
    threads: ThreadPoolExecutor
    population: Population
    best: Program
    generations: int
    hashes: set[str]
    progress: Progress
    samples: int = 0
    cost_usd: float = 0.0
    programs: dict[str, Program] = field(default_factory=dict)
    last_reset: float = field(default_factory=time.monotonic)
    night: int = 0
    may_begin: Callable[[int], bool] = lambda _: False
    budget_usd: float | None = None
    asked: dict[int, list[Selection]] = field(default_factory=dict)
    _evaluators: dict[int, Evaluator] = field(default_factory=dict)
    _rounds: dict[int, Round] = field(default_factory=dict)

    @property
    def search(self) -> Search:
        return self.run.problem.settings.search

    def round(self, generation: int) -> Round:
        """A generation's way from prompts to verdicts, which has begun when this returns, if it had not before."""
        if generation not in self._rounds:
            paid = Paid(Journal(self.files.paid(generation)), self.progress.bought)
            problem = self.run.problem
            purchase = Purchase(self._prompts(generation), self.gateway, paid, problem.settings.sampling.batch)
            self._rounds[generation] = Round(purchase, self._evaluator(generation), problem.specification)
        return self._rounds[generation]

    def go_ahead(self, generation: int) -> None:
        """Begins the generations after this one, as far as the lookahead and the night's rules allow."""
        for number in range(generation + 1, generation + 1 + self.search.lookahead):
            if self.may_begin(number):
                self.round(number)

    def _evaluator(self, generation: int) -> Evaluator:
        """A further attempt at a generation gets the same, with its verdicts."""
        if generation not in self._evaluators:
            self._evaluators[generation] = Evaluator(
                self.sandbox,
                self.run.problem.specification,
                self.known,
                self.progress.judged,
                self.threads,
            )
        self._evaluators[generation].begin_attempt()
        return self._evaluators[generation]

    @property
    def known(self) -> set[str] | None:
        """Hashes of every body that was judged; `None` in paper mode, which judges equal programs each anew."""
        return None if self.search.mode == "paper" else self.hashes

    def may_spend(self) -> bool:
        """Whether the night's budget allows one more request; those in flight may still overshoot it."""
        return self.budget_usd is None or self.progress.cost_usd < self.budget_usd

    def finish(self) -> None:
        """Waits for what is in flight: it is paid for, and the next night takes it from the files."""
        for one in self._rounds.values():
            one.finish(timeout_s=self.run.problem.settings.sampling.timeout_s)
        self._rounds.clear()

    def _prompts(self, generation: int) -> list[Prompt]:
        problem = self.run.problem
        return build_prompts(
            self.asked[generation],
            problem.specification,
            problem.settings.sampling,
            samples=self.search.samples,
            seed=self.run.seed,
            generation=generation,
        )

    def is_time_to_reset(self, generation: int) -> bool:
        if self.search.reset_hours is not None:
            return time.monotonic() - self.last_reset >= self.search.reset_hours * 3600
        return self.search.reset_generations is not None and generation % self.search.reset_generations == 0

    def commit(self, generation: GenerationRecord) -> None:
        """Commits a generation to the files and takes it over into what is open."""
        record.commit(self.files, generation)
        self.generations = generation.number
        self.best = generation.best
        self.hashes.update(
            judged.candidate.code_hash
            for judged in generation.judged
            if judged.candidate.body and judged.verdict.outcome is not Outcome.SANDBOX_ERROR
        )
        self.programs.update((judged.id, judged.program()) for judged in generation.judged if judged.score is not None)
        self.progress.improved(generation.best.score)
        self._rounds.pop(generation.number).stop()
        self._evaluators.pop(generation.number)
        self.asked.pop(generation.number)
        ahead = generation.number + 1 + self.search.lookahead
        self.asked[ahead] = self.population.ask(ahead)

    def reload(self) -> None:
        """Takes the population from the files again, after an attempt that failed half-way."""
        self.finish()
        past = record.read_past(self.files)
        self.population, self.asked = rebuild(self.run, past)
        self.generations = past.generations


@dataclass(frozen=True)
class Paid:
    """The journal of a generation that also tells the live view what was bought."""

    journal: Journal
    report: Callable[[Sequence[Completion]], None]

    def known(self) -> dict[tuple[int, int, str], Completion]:
        return self.journal.known()

    def record(self, completions: Sequence[Completion]) -> None:
        self.journal.record(completions)
        self.report(completions)


def rebuild(run: RunRecord, past: Past) -> tuple[Population, dict[int, list[Selection]]]:
    """The population after everything that is committed, and what it was asked for the generations to come.

    With a lookahead of L, the parents of generation g come from the population after g - 1 - L, or the first one.
    """
    search = run.problem.settings.search
    population = Population(search, past.start, run.seed)
    asked = {number: population.ask(number) for number in range(past.generations + 1, search.lookahead + 2)}
    for number, changes in enumerate(past.changes, start=1):
        population.replay(changes, past.programs)
        ahead = number + 1 + search.lookahead
        if ahead > past.generations:
            asked[ahead] = population.ask(ahead)
    return population, asked


_open: dict[Path, Session] = {}


@contextlib.contextmanager
def open_session(files: RunFiles) -> Iterator[Session]:
    """The session of a run: the one that is open in this process, else a new one from the files.

    Raises:
        UsageError: If another process has the run open.
        SandboxUnavailable: If no sandbox can be started.
    """
    if files.directory in _open:
        yield _open[files.directory]
        return
    with files.locked(), contextlib.ExitStack() as stack:
        session = _new_session(files, stack)
        _open[files.directory] = session
        stack.callback(_open.pop, files.directory)
        yield session
        session.finish()


def _new_session(files: RunFiles, stack: contextlib.ExitStack) -> Session:
    run, past = record.read_run(files), record.read_past(files)
    sandbox = stack.enter_context(open_sandboxes(run.problem, "train", seed=run.seed, run_id=run.run_id))
    threads = stack.enter_context(ThreadPoolExecutor(slots_of(run.problem), "overnight-slot"))
    population, asked = rebuild(run, past)
    best = max(past.programs.values(), key=lambda program: program.score)
    return Session(
        files=files,
        run=run,
        gateway=Gateway(run.problem.settings.sampling, lambda: _open[files.directory].may_spend()),
        sandbox=sandbox,
        threads=threads,
        population=population,
        asked=asked,
        best=best,
        generations=past.generations,
        hashes=set(past.code_hashes),
        progress=Progress(best=best.score, generation=past.generations),
        samples=past.samples,
        cost_usd=past.cost_usd,
        programs=dict(past.programs),
    )


def open_sandboxes(problem: Problem, split: Split, *, seed: int, run_id: str) -> SandboxPool:
    """Started slots for one split of a problem's inputs; leave the context to remove them."""
    sandbox = problem.settings.sandbox
    return open_pool(
        problem.job(split, seed),
        image=sandbox.image,
        slots=slots_of(problem),
        labels={"overnight.run": run_id},
        runtime=sandbox.runtime,
    )


def slots_of(problem: Problem) -> int:
    return problem.settings.sandbox.slots or os.cpu_count() or 1
