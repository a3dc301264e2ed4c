"""The state of a search: what is committed, and what the algorithm has been told of since. Plain data and rules."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

from overnight.flows.night.finalists import Ranking
from overnight.flows.night.planning import Planner
from overnight.flows.night.rebuild import rebuild
from overnight.schemas.algorithm import Change, Plan, Turn
from overnight.schemas.generation import GenerationRecord, RunHistory, RunRecord, Step
from overnight.schemas.interventions import DROPPED
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.program import Judged, Program, best_of
from overnight.tasks.select.selection import record_of, results_of

_CLAIMS_REMEMBERED = 8
_BARRED = f"{DROPPED}: its base, with all that is built on it"


class SearchState:
    """The state of a run's search. One thread changes it.

    Attributes:
        planner: The algorithm with its open plans.
        best: The best program of the run so far, alive or not.
        generations: Number of the last generation that ended, settled or given up.
        failed: Numbers of generations that were given up and not committed since.
        put_off: Numbers of sessions of agents beside prompts that have their place and are not committed.
        recorded_sessions: Numbers of those that are written down, committed or not.
        place: Position in the order of endings that the next generation to end will have.
        hashes: Code hashes of all bodies evaluated so far.
        tried: Ids of programs that were pruned, as far as that was possible, and of those that came of it.
        asked: Number of prompts of each generation that were asked, in this night or as its journal has them.
        asked_before: Number of the last generation of which an earlier attempt has asked prompts.
        beaten: Whether each of the latest claims was beaten before its verdict. It decides when confirmations start,
            and nothing that the history says.
    """

    planner: Planner
    start: Program
    best: Program
    generations: int
    failed: set[int]
    put_off: set[int]
    place: int
    programs: dict[str, Program]
    hashes: set[str]
    tried: set[str]

    def __init__(self, run: RunRecord, history: RunHistory) -> None:
        self.run = run
        self.beaten: deque[bool] = deque(maxlen=_CLAIMS_REMEMBERED)
        self.asked: Counter[int] = Counter()
        self.adopt(history)

    def adopt(self, history: RunHistory) -> None:
        """Replace the state by what the files say."""
        self._history = history
        self._planners_of_failed: dict[int, Planner] = {}
        self.asked |= Counter(history.asked)
        self.asked_before = max(history.asked, default=0)
        self.planner = rebuild(self.run, history)
        self.start = history.start
        self.generations, self.failed, self.place = history.generations, set(history.failed), len(history.steps) + 1
        self.put_off, self.recorded_sessions = set(history.put_off), frozenset(history.sessions)
        self.best = best_of(history.programs.values())
        self.programs = dict(history.programs)
        records = (one for step in history.steps for one in step.records.values() if one.operator == Operator.PRUNE)
        pruned = [one for record in records for one in record.answers]
        self.tried = {name for one in pruned for name in (one.parent_id, one.program_id)}
        self.hashes = {*history.code_hashes, *map(self.run.problem.code_hash, history.unhashed)}

    @property
    def known(self) -> set[str] | None:
        """Code hashes of all evaluated bodies; `None` where the algorithm evaluates duplicates again."""
        evaluates_duplicates = self.run.problem.settings.search.algorithm.evaluates_duplicates
        return None if evaluates_duplicates else self.hashes

    @property
    def niche_bests(self) -> dict[str, Program]:
        """Best program of each niche."""
        return {name: niche.best for name, niche in self.planner.algorithm.niches.items()}

    def has_ended(self, number: int) -> bool:
        """Return whether a generation was settled or committed, and neither given up nor put off."""
        return number <= self.generations and number not in self.failed | self.put_off

    def is_in_order(self, number: int) -> bool:
        """Return whether a generation comes after all that have ended, and is not a retry of one that failed."""
        return number > self.generations

    def is_reset_due(self, number: int) -> bool:
        """Return whether niches are reset after a generation. Periods count generations of full length.

        What is due after an agent's session, which is told out of order, is done after the generation that follows.
        """
        search, until = self.run.problem.settings.search, self.planner.prompts_until
        before = number - 1
        while before in self.planner.sessions:
            before -= 1
        full = range(until(before) // search.prompts + 1, until(number) // search.prompts + 1)
        return self.is_in_order(number) and any(search.algorithm.is_reset_due(one) for one in full)

    def plans(self, generation: int) -> dict[int, Plan | None]:
        """Return the plans of a generation that are due, by index; `None` for a turn of the tuner that passes."""
        planner = self.planner if self.is_in_order(generation) else self._planner_of_failed(generation)
        return {turn.index: plan for turn, plan in planner.plans.items() if turn.generation == generation}

    def rest_of_batch(self, generation: int) -> range:
        """Return the numbers of a generation and of those after it in its batch job."""
        size, given = self.run.problem.settings.sampling.batch_generations, self.run.given
        return range(generation, given + ((generation - 1 - given) // size + 1) * size + 1)

    def _planner_of_failed(self, generation: int) -> Planner:
        """Return a planner as it was when a generation was given up, so that its retry gets the same prompts."""
        if generation not in self._planners_of_failed:
            before = self._history.before_failure_of(generation)
            self._planners_of_failed[generation] = rebuild(self.run, before)
        return self._planners_of_failed[generation]

    def without_barred(self, judged: Sequence[Judged]) -> list[Judged]:
        """Return candidates where those fail that are built on a program which was dropped with its descendants."""
        barred = self.planner.barred
        return [
            replace(
                one, verdict=replace(one.verdict, outcome=Outcome.UNCONFIRMED, error=_BARRED, scores=()), score=None
            )
            if one.score is not None and one.feedback().parent_id in barred
            else one
            for one in judged
        ]

    def with_gains(self, judged: Sequence[Judged]) -> list[Judged]:
        """Return candidates with what each gained on its base, before the algorithm is told of them."""
        return [replace(one, gain=self.planner.gain_of(one.feedback())) for one in judged]

    def tell(self, turn: Turn, judged: Sequence[Judged], *, reset: bool, claims: bool) -> tuple[Change, ...]:
        """Tell the algorithm of the results of a prompt; return what changed. See `Planner.tell`."""
        results, record = results_of(judged), record_of(judged)
        if self.is_in_order(turn.generation):
            return self.planner.tell(turn, results, record, reset=reset, claims=claims)
        if turn.generation not in self.put_off:  # of which no further prompt is planned
            self._planner_of_failed(turn.generation).tell(turn, results, record)
        return self.planner.tell_out_of_order(turn.generation, results, record)

    def settle(self, record: GenerationRecord) -> None:
        """Count a generation as ended, all of whose candidates are judged."""
        self.best = record.best
        self._count(record.judged)
        self._end(record.number)
        self.planner.narrow(record.samples_in_flight)

    def _count(self, judged: Iterable[Judged]) -> None:
        self.hashes.update(
            one.candidate.code_hash
            for one in judged
            if one.candidate.body and one.verdict.outcome.facts.counts_as_known
        )
        self.programs.update((one.id, one.program()) for one in judged if one.score is not None)

    def prunable(self) -> tuple[list[Program], frozenset[str]]:
        """Return the programs of the final evaluation, as it would be now, and those that stay as they are."""
        programs = Ranking.of(self.run.problem, self.start).finalists(self.programs.values())
        return programs, frozenset({self.start.id, *self.tried})

    def take_pruned(self, record: GenerationRecord, judged: Judged) -> GenerationRecord:
        """Take what came of pruning the best program into the generation that ended last; return its record with it."""
        prompt = judged.candidate.prompt
        prompt = replace(prompt, niche=self.planner.home_of(prompt.base_id))
        judged = replace(judged, candidate=replace(judged.candidate, prompt=prompt))
        changes = dict(record.changes)
        self._count([judged])
        if judged.score is not None:
            program = judged.program()
            self.best = best_of([record.best, program])
            if own := self.planner.tell_pruned(record.number, prompt.niche, program):
                changes[prompt.index] = own
        self.tried |= {prompt.base_id, judged.id}
        return replace(record, judged=(*record.judged, judged), changes=changes, best=self.best)

    def give_up(self, number: int) -> None:
        """Continue without a generation that failed; its completions are kept for a retry."""
        self._pass_over(number)
        self.failed.add(number)

    def put_off_session(self, number: int) -> None:
        """Continue without the answer of an agent, which is told and committed once it is there."""
        self._pass_over(number)
        self.put_off.add(number)

    def _pass_over(self, number: int) -> None:
        step = Step(number, is_committed=False)
        if self.is_in_order(number):
            self.planner.replay(step, self._history)
        else:
            self.planner.replay_out_of_order(step, {})
        self._end(number)

    def _end(self, number: int) -> None:
        self.place += 1
        del self.asked[number]
        if self.is_in_order(number):
            self.generations = number
        else:
            self.failed.discard(number)
            self.put_off.discard(number)
        self.planner.close()
        self.planner.forget(number)
        self._planners_of_failed.pop(number, None)
