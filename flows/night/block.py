"""One generation of a night: which of its prompts are asked, what came back, and what the algorithm is told of it.

It has as many prompts as the settings say, or fewer where it lasts long: those that are planned when it ends early.

Candidates whose score would be the best of their niche are claims. A claim is told at once, and its confirmation counts
at a fixed later prompt, so that nobody waits for it. After a claim has fallen, claims are confirmed before they are
told, until some have stood.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import islice, takewhile

from overnight.flows.night.search_state import SearchState
from overnight.flows.night.turns import prompts_per_task, turns_of
from overnight.schemas.algorithm import Change, Correct, Plan, Turn
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.outcome import DUPLICATE_IN_GENERATION, STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import NO_MODELS, Candidate, Judged, Prompt, best_of
from overnight.tasks.evaluate.confirmation import ConfirmationRules
from overnight.tasks.sample.prompts import build_prompts
from overnight.tasks.select.selection import judge, with_failed_twins

LEAST_PROMPTS_TO_VERDICT = 4
"""Fewest prompts after which the confirmation of a claim counts."""

Pairs = Sequence[tuple[Candidate, Verdict]]
Stored = Mapping[tuple[int, str], int]
"""Samples of each prompt that are paid for, by its index and hash."""


class Block:
    """A generation under way.

    Args:
        stored: Completions that earlier attempts have paid for.
        most_samples: Largest number of samples that it may ask for beside them; `None` without a limit.
        rules: Rules of confirmations; by default those of the settings.
        recorded: Prompts by index that are asked in place of those which its plans make.

    Attributes:
        judged: Candidates that the algorithm was told of, in order.
        needed: Candidates without whose confirmation nothing more can be told.
        resets: Whether niches are reset at its end.
        is_quick: Whether answers and verdicts come at once, so that prompts that are due together share tasks.
        most_samples: Largest number of samples that it may ask for beside those that are paid for.
    """

    def __init__(
        self,
        state: SearchState,
        number: int,
        *,
        stored: Stored | None = None,
        most_samples: int | None = None,
        rules: ConfirmationRules | None = None,
        recorded: Mapping[int, Prompt] | None = None,
    ) -> None:
        self.number = number
        self.judged: dict[str, Judged] = {}
        self.needed: tuple[Judged, ...] = ()
        self.resets = False
        self.is_quick = False
        self._state = state
        self._run = state.run
        self._stored = stored or {}
        self._recorded = recorded or {}
        self.most_samples = most_samples
        self._taken: dict[int, int] = {}
        settings = self._run.problem.settings
        self._rules = rules or ConfirmationRules.of(settings)
        self._waiting = deque([*range(self._prompts), *self._tuners])
        self._left_out: set[int] = set()
        self._asked: set[int] = set()
        self._pairs: dict[int, Pairs] = {}
        self._next = 0
        self._current: list[Judged] | None = None
        self._seen: dict[str, Verdict] = {}
        self._changes: defaultdict[int, tuple[Change, ...]] = defaultdict(tuple)
        self._places: dict[str, int] = {}
        self._verdicts: dict[str, Verdict] = {}

    @property
    def _prompts(self) -> int:
        return self._state.planner.prompts_of(self.number)

    @property
    def _tuners(self) -> range:
        """Indices of the tuner's turn, if it has one, as an agent's session has not."""
        prompts, is_session = self._run.problem.settings.search.prompts, self.number in self._state.planner.sessions
        return range(prompts, prompts if is_session else turns_of(self._run))

    # Asking

    def end_early(self) -> int | None:
        """Ask for no prompts but those that are planned, and return their number; `None` where it goes on.

        It goes on where all are planned, or where an earlier attempt has paid for answers to others.
        """
        prompts = self._state.planner.end_early(self.number, self._state.asked)
        if prompts is not None:
            self._waiting = deque(one for one in self._waiting if one < prompts or one in self._tuners)
        return prompts

    def due(self) -> list[list[Prompt]]:
        """Return the prompts that are to be asked now, by batch."""
        plans = self._state.plans(self.number) if self._waiting else {}
        batches = []
        while batch := self._next_batch(plans):
            if due := {index: plan for index in batch if (plan := plans[index])}:
                self._asked.update(due)
                self._state.asked |= Counter({self.number: 1 + max(due.keys() - self._tuners, default=0)})
                batches.append(self._within_limit(self.prompts(due)))
        return batches

    def prompts(self, plans: Mapping[int, Plan]) -> list[Prompt]:
        """Return the prompts of some plans by index."""
        start = self._state.start
        made = build_prompts(plans, self._run.problem, seed=self._run.seed, generation=self.number, start=start)
        return [self._recorded.get(prompt.index, prompt) for prompt in made]

    def group(self, numbers: Iterable[int]) -> dict[int, Sequence[Prompt]]:
        """Return the prompts that are planned of this and later generations, by generation; not the tuner's."""
        group = {}
        for each in numbers:
            plans = {index: plan for index, plan in self._state.plans(each).items() if plan}
            if plans:
                block = self if each == self.number else Block(self._state, each)
                group[each] = [prompt for prompt in block.prompts(plans) if prompt.model not in NO_MODELS]
        return group

    def _next_batch(self, plans: Mapping[int, Plan | None]) -> list[int]:
        """Take the prompts of the next task, if all are planned; where work is quick, those of the tasks after it, too.

        The tuner's turn is a task of its own.
        """
        planned = list(takewhile(plans.__contains__, self._waiting))
        planned = [index for index in planned if index not in self._tuners] or planned
        size = prompts_per_task(self._run, self._state.planner.window)
        is_all = all(index in self._tuners for index in islice(self._waiting, len(planned), None))
        whole = len(planned) if is_all else len(planned) // size * size
        batch = planned[: whole if self.is_quick else min(whole, size)]
        for _ in batch:
            self._waiting.popleft()
        return batch

    def _within_limit(self, prompts: Sequence[Prompt]) -> list[Prompt]:
        """Leave out samples beyond the night's limit, unless they are paid for; the algorithm is told of none then."""
        if self.most_samples is None:
            return list(prompts)
        limited = []
        for prompt in prompts:
            wanted = prompt.samples
            if prompt.model not in NO_MODELS:
                left = max(0, self.most_samples - self.taken)
                wanted = min(wanted, max(left, self._stored.get((prompt.index, prompt.hash), 0)))
                self._taken[prompt.index] = wanted
            limited.append(replace(prompt, seeds=prompt.seeds[:wanted]))
        return limited

    @property
    def is_asked(self) -> bool:
        """Whether all of its prompts were asked."""
        return not self._waiting

    @property
    def is_answered(self) -> bool:
        """Whether all prompts of models are asked and evaluated: at most the tuner's turn is missing."""
        if not self.is_asked:
            return False
        open_from = self._next + (self._current is not None)
        return all(index < open_from or index in self._pairs for index in self._asked - set(self._tuners))

    @property
    def is_bought(self) -> bool:
        """Whether there are answers, or requests under way, that the algorithm was not told of."""
        return any(self._pairs.values()) or any(index not in self._pairs for index in self._asked)

    @property
    def taken(self) -> int:
        """Number of samples of models that it has asked for, as far as they are limited."""
        return sum(self._taken.values())

    def leave_out(self) -> None:
        """Ask no further prompt, since the deadline has come."""
        self._left_out.update(self._waiting)
        self._waiting.clear()

    # Telling

    def receive(self, prompts: Sequence[Prompt], pairs: Pairs) -> None:
        """Take the verdicts on the candidates of some prompts."""
        for prompt in prompts:
            self._pairs[prompt.index] = [pair for pair in pairs if pair[0].prompt.index == prompt.index]

    def confirm(self, program_id: str, verdict: Verdict) -> None:
        self._verdicts[program_id] = verdict

    @property
    def wanted(self) -> list[Judged]:
        """Claims that are worth a confirmation now: those needed, and the best of each niche.

        Where most claims of late were beaten before their verdict, only those needed: the others would be in vain.
        """
        beaten = self._state.beaten
        early = [] if sum(beaten) > len(beaten) / 2 else self._claims_at(turns_of(self._run))
        wanted = {one.id: one for one in (*self.needed, *early)}
        return [one for one in wanted.values() if one.id not in self._verdicts]

    @property
    def is_told(self) -> bool:
        """Whether the algorithm was told of everything, and all claims are settled."""
        return self._next > turns_of(self._run)

    @property
    def _is_at_last(self) -> bool:
        """Whether the next prompt is the last one."""
        return self._state.planner.turn_after(self._next, self.number) == turns_of(self._run)

    def advance(self, told: Callable[[], None] = lambda: None) -> None:
        """Tell the algorithm of as many prompts as possible, in order, and settle claims where it is their place.

        `told` is called before each of them: what follows from those before it must not depend on what arrives first.
        """
        while not self.is_told:
            told()
            self.needed = self._settle_claims()
            if self.needed:
                return
            if self._next == turns_of(self._run):
                self._next += 1
                return
            judged = self._judged()
            if judged is None:
                return
            judged, self.needed = self._confirmed(judged)
            if self.needed:
                return
            self._tell(judged)

    def _judged(self) -> list[Judged] | None:
        """Return the candidates of the next prompt; `None` while it is not evaluated."""
        if self._current is None:
            if self._next in self._pairs:
                pairs = self._pairs.pop(self._next)
            elif self._next in self._asked or (self._waiting and self._next >= self._waiting[0]):
                return None
            else:
                pairs = []
            self._current = self._judge(pairs, self._seen)
        return self._current

    def _judge(self, pairs: Pairs, seen: dict[str, Verdict]) -> list[Judged]:
        run, settings = self._run, self._run.problem.settings
        judged = judge(
            *(run.run_id, self.number, pairs, settings.reducer, self._state.known, seen, settings.objectives)
        )
        return self._state.without_barred(judged)

    def claims_before_its_turn(self) -> tuple[Judged, ...]:
        """Return the claims of a session that is put off, as they are now: its turn may be minutes away."""
        judged = self._judge(self._pairs.get(self._next, ()), dict(self._seen))
        return self._rules.confirmed(judged, self._niche_scores(), self._verdicts)[1]

    def _confirmed(self, judged: list[Judged]) -> tuple[list[Judged], tuple[Judged, ...]]:
        """Return candidates after the confirmations that come before they are told, and those that are missing."""
        if not self._is_wary:
            return judged, ()
        judged, missing = self._rules.confirmed(judged, self._niche_scores(), self._verdicts)
        return with_failed_twins(judged, self._seen), missing

    def _niche_scores(self) -> dict[str, float]:
        return {niche: program.score for niche, program in self._state.niche_bests.items()}

    @property
    def _is_wary(self) -> bool:
        """Whether the next prompt's claims are confirmed before they are told.

        What is told out of order cannot be taken back, nor can a reset.
        """
        is_in_order = self._state.is_in_order(self.number)
        is_reset_next = self._is_at_last and self.resets
        return self._rules.which == "always" or self._state.planner.wary > 0 or not is_in_order or is_reset_next

    def _tell(self, judged: Sequence[Judged]) -> None:
        if self._next in self._taken:  # an agent may have used few of its samples
            self._taken[self._next] = len(judged)
        bests = self._niche_scores()
        claims = [] if self._is_wary else [one for one in judged if self._rules.is_due(one, bests)]
        judged = self._state.with_gains(judged)
        self.judged |= {one.id: one for one in judged}
        reset = self.resets and self._is_at_last
        confirmed = [
            one.score is not None
            for one in judged
            if one.confirmed_score is not None or one.verdict.outcome is Outcome.UNCONFIRMED
        ]
        turn = Turn(self.number, self._next)
        # Settled claims come first where the history repeats this, so their changes are there already.
        before = {program.id for program in self._state.niche_bests.values()}
        self._changes[self._next] += self._state.tell(turn, judged, reset=reset, claims=bool(claims))
        self._note_beaten(before)
        if self._state.is_in_order(self.number):
            self._state.planner.note_confirmations(stood=sum(confirmed), fell=len(confirmed) - sum(confirmed))
        to_verdict = max(LEAST_PROMPTS_TO_VERDICT, self._state.planner.window)
        place = min(self._next + to_verdict, turns_of(self._run))
        self._places |= {one.id: place for one in claims}
        self._next, self._current = self._state.planner.turn_after(self._next, self.number), None

    def _note_beaten(self, before: set[str]) -> None:
        """Remember the claims that were a niche's best before the last prompt was told, and are no more."""
        now = {program.id for program in self._state.niche_bests.values()}
        self._state.beaten.extend(True for name in before - now if name in self._places)

    def _settle_claims(self) -> tuple[Judged, ...]:
        """Settle the claims whose place the next prompt is; return those whose verdict is missing.

        The best of a niche needs its verdict, whether it was the best when it was told or became so when another fell.
        What was beaten needs none. Before a reset all are settled.
        """
        all_of_them = self._is_at_last and self.resets
        while claims := self._claims_at(turns_of(self._run) if all_of_them else self._next):
            missing = [one for one in claims if one.id not in self._verdicts]
            if missing:
                return tuple(missing)
            self._settle(claims[0])
        return ()

    def _claims_at(self, place: int) -> list[Judged]:
        """Return the best of each niche that is not confirmed, up to a place.

        It was a claim, which has a place, or became the best when a claim fell, and is settled at once.
        """
        if self._rules.which != "best":
            return []
        bests = dict.fromkeys(program.id for program in self._state.niche_bests.values())
        claims = [self.judged[name] for name in bests if name in self.judged and self._places.get(name, 0) <= place]
        return [one for one in claims if one.confirmed_score is None]

    def _settle(self, claim: Judged) -> None:
        final = self._rules.settled(claim, self._verdicts[claim.id])
        self._places.pop(claim.id, None)
        self._state.beaten.append(False)
        if final.verdict == claim.verdict:
            self.judged[claim.id] = final
            return
        corrected = replace(final, claimed_scores=claim.verdict.scores)
        changed = [corrected, *self._failed_twins(corrected)]
        self._state.planner.correct(
            {one.id: (None if one.score is None else one.program(), one.feedback()) for one in changed}
        )
        is_removed = final.score is None
        self._changes[self._next] += (Correct(claim.candidate.prompt.niche, claim.id, is_removed),)
        self.judged |= {one.id: replace(one, gain=self._state.planner.gain_of(one.feedback())) for one in changed}

    def _failed_twins(self, claim: Judged) -> list[Judged]:
        """Return the duplicates of a program that could not be confirmed, which is not their fault either."""
        if claim.verdict.outcome is not Outcome.SANDBOX_ERROR:
            return []
        twins = [one for one in self.judged.values() if one.candidate.code_hash == claim.candidate.code_hash]
        self._seen[claim.candidate.code_hash] = claim.verdict
        return [replace(one, verdict=claim.verdict) for one in twins if one.verdict == DUPLICATE_IN_GENERATION]

    # The end

    def is_worth_committing(self, *, is_cut: bool) -> bool:
        """Return whether any candidate was judged."""
        judged = self.judged.values()
        return bool(judged) and not (is_cut and all(one.verdict == STOPPED_BY_DEADLINE for one in judged))

    def leaves_answers(self) -> bool:
        """Return whether an earlier attempt paid for answers to prompts that the deadline leaves out now."""
        return any(index in self._left_out for index, _ in self._stored)

    def record(self, base: GenerationRecord) -> GenerationRecord:
        """Return the record of the generation, from one with its number, attempt, night and times."""
        judged = tuple(self.judged.values())
        programs = [one.program() for one in judged if one.score is not None]
        return replace(
            base,
            judged=judged,
            changes={index: changes for index, changes in sorted(self._changes.items()) if changes},
            best=best_of([self._state.best, *programs]),
            place=self._state.place,
            prompts=None if self._prompts == self._run.problem.settings.search.prompts else self._prompts,
            agent=self._state.planner.sessions.get(self.number, ""),
        )
