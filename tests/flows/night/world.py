"""A simulated world around the core of a night: models, a sandbox, files and a clock, without threads or waiting.

Answers depend on the prompt alone, so that two histories are the same only if every prompt was.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from math import inf
from random import Random
from typing import Any

from overnight.flows.night import events
from overnight.flows.night.core import NightCore
from overnight.flows.night.night_limits import NightPlan
from overnight.flows.night.requests import placed
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.night.turns import pruning_index
from overnight.schemas.algorithm import Turn
from overnight.schemas.errors import Outage
from overnight.schemas.generation import GenerationRecord, NightRecord, RunHistory, RunRecord, Step, StopReason, Window
from overnight.schemas.interventions import Intervention, Kind
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome, Verdict
from overnight.schemas.program import (
    PRUNED,
    PRUNER,
    TUNER,
    Candidate,
    Completion,
    Judged,
    Program,
    Prompt,
    best_of,
)
from overnight.tasks.select.selection import record_of
from overnight.testing.made import NOW


@dataclass
class Files:
    """What survives a kill: commits, generations that were given up, nights, paid answers, and what people ask.

    Attributes:
        ends: Commits, and numbers of generations that were given up; negative for sessions that were put off.
        verdicts: Those on candidates, by generation, index and code hash; and of confirmations, by id and code hash.
    """

    run: RunRecord
    start: Program
    ends: list[GenerationRecord | int] = field(default_factory=list)
    nights_of_ends: list[int] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    nights: list[NightRecord] = field(default_factory=list)
    failed_attempts: list[GenerationRecord] = field(default_factory=list)
    requests: list[Intervention] = field(default_factory=list)
    interventions: list[Intervention] = field(default_factory=list)
    lengths: dict[int, int] = field(default_factory=dict)
    sessions: dict[int, str] = field(default_factory=dict)
    paid: defaultdict[int, dict[tuple[int, str], int]] = field(default_factory=lambda: defaultdict(dict))
    verdicts: dict[object, Verdict] = field(default_factory=dict)

    @property
    def commits(self) -> list[GenerationRecord]:
        return [end for end in self.ends if isinstance(end, GenerationRecord)]

    def end(self, end: GenerationRecord | int) -> None:
        """Write down the end of a generation in the night under way."""
        self.ends.append(end)
        self.nights_of_ends.append(len(self.windows))

    def give_up(self, generation: int) -> None:
        """Mark the last failed attempt at a generation as final."""
        self.end(generation)
        last = max(place for place, one in enumerate(self.failed_attempts) if one.number == generation)
        self.failed_attempts[last] = replace(self.failed_attempts[last], place=len(self.ends))

    def history(self) -> RunHistory:
        """Return what is read from the files, as `stored_run.read_run_history` does."""
        judged = [one for commit in self.commits for one in commit.judged]
        programs = {self.start.id: self.start} | {one.id: one.program() for one in judged if one.score is not None}
        hashes = {one.candidate.code_hash for one in judged if one.verdict.outcome.facts.counts_as_known}
        claimed = {one.id: one.claimed_scores for one in judged if one.claimed_scores}
        steps = tuple(
            Step(abs(end), False, is_put_off=end < 0, night=night) if isinstance(end, int) else _step(end)
            for end, night in zip(self.ends, self.nights_of_ends, strict=True)
        )
        born = {one.id: end.place or 0 for end in self.commits for one in end.judged if one.score is not None}
        drops = [one for one in self.interventions if one.kind is Kind.DROP and one.place <= len(steps)]
        out = {one.program_id for one in drops if 0 < born.get(one.program_id, 0) <= one.place}
        dropped = {name: program for name, program in programs.items() if name in out}
        left = {name: program for name, program in programs.items() if name not in out}
        given = tuple(self.interventions)
        return RunHistory(
            *(left, steps, frozenset(hashes), tuple(self.windows), claimed, given, dropped),
            lengths=dict(self.lengths),
            asked={number: 1 + most for number in self.paid if (most := self._last_paid(number)) >= 0},
            sessions=dict(self.sessions),
        )

    def _last_paid(self, generation: int) -> int:
        """Return the index of the last prompt of which a sample is paid for; -1 if none is."""
        return max((index for (index, _), samples in self.paid[generation].items() if samples), default=-1)

    @property
    def open_sessions(self) -> set[int]:
        """Numbers of the sessions that were put off and are not committed."""
        return {-end for end in self.ends if isinstance(end, int) and end < 0} - {
            end if isinstance(end, int) else end.number for end in self.ends
        }


def _step(commit: GenerationRecord) -> Step:
    prompts = sorted({one.candidate.prompt.index for one in commit.judged})
    groups = {index: [one for one in commit.judged if one.candidate.prompt.index == index] for index in prompts}
    records = {index: found for index, group in groups.items() if (found := record_of(group))}
    confirmations = {
        index: [
            (one.id, one.score is not None)
            for one in group
            if one.verdict.outcome is Outcome.UNCONFIRMED or (one.score is not None and one.confirmed_score is not None)
        ]
        for index, group in groups.items()
    }
    corrected = {one.id: one.feedback() for one in commit.judged if one.claimed_scores}
    few = commit.samples_in_flight
    return Step(commit.number, True, commit.changes, records, confirmations, corrected, few, night=commit.night)


AGENT = "agent:slow/openai/test"


def _is_session(action: events.Action) -> bool:
    return isinstance(action, events.Ask) and action.prompts[0].model == AGENT


@dataclass
class World:
    """Answers, verdicts and faults.

    Attributes:
        liars: Share of the programs that claim a higher score than they have.
        faults: Share of the work that fails.
        away: Begin and end of an outage in which all work fails, seconds.
        interrupted_at: When a person interrupts the night, seconds.
        lost_s: Seconds that the night noted as lost.
        slow_from: First generation whose answers take minutes.
        if_slow: Samples in flight once they do.
        sessions: Sessions of an agent that may be under way beside prompts.
        improves: Whether the answers to each prompt are better than those before.
        answered: Number of answers of models.
        tuning_ends_after: Number of these at which the tuner was told to end.
        evaluated: Number of evaluations.
        confirmed: Number of confirmations.
        pruned: Number of times that a best program was to be pruned.
    """

    files: Files
    seed: int
    liars: float = 0.0
    faults: float = 0.0
    away: tuple[float, float] = (0.0, 0.0)
    interrupted_at: float = inf
    lost_s: float = 0.0
    slow_from: float = inf
    if_slow: int | None = None
    sessions: int = 0
    most_sessions: int = 0
    is_cut: bool = False
    improves: bool = False
    answered: int = 0
    tuning_ends_after: list[int] = field(default_factory=list)
    evaluated: int = 0
    confirmed: int = 0
    pruned: int = 0
    lost_since: float | None = None
    in_flight: int = 4
    seconds: float = 0.0
    asked: int = 0
    most_asked: int = 0
    after_close: int = 0
    reason: StopReason | None = None

    def night(
        self,
        order: Random,
        conditions: StopConditions,
        *,
        kill_at: int | None = None,
        retried: tuple[int, ...] | None = None,
        cut_at: int | None = None,
        after_empty_night: bool = False,
        asks: Mapping[int, Callable[[NightCore], Intervention | None]] | None = None,
    ) -> bool:
        """Run a night whose work ends in some order; return false if it was killed before its end.

        `asks` has what a person asks for, by the number of the event before which it is.
        """
        self.is_cut = False
        self._take_before()
        state = SearchState(self.files.run, self.files.history())
        night = len(self.files.windows) + 1
        self.files.windows.append(Window(state.generations + 1, self.in_flight, night))
        if_slow = self.if_slow if retried is None else None
        sessions = ((AGENT, self.sessions),) if self.sessions else ()
        plan = NightPlan(night, conditions, self.in_flight, 2, retried, if_slow, after_empty_night, sessions)
        self.core = core = NightCore(state, plan, self._clock())
        first = self.files.windows[-1]
        row = NightRecord(night, NOW, state.best.score, state.best.score, state.best.id)
        row = replace(row, samples_in_flight=first.samples, first_generation=first.first_generation)
        self.files.nights.append(row)
        pending: list[tuple[events.Action, float]] = []
        is_closed = False
        waits: list[events.Event] = [events.Tick()]
        for number in range(5_000):
            if number == kill_at:
                return False
            if number == cut_at:
                self.is_cut = True  # from then on, agents hand nothing back
                waits.append(events.Cut())
            if asks and number in asks and (request := asks[number](core)):
                self.files.requests.append(request)
                waits[:0] = self._taken(core) or [events.DropWanted()]  # before anything else is planned
            event = waits.pop(0) if waits else None
            if event is None and pending:
                action, _ = pending.pop(self._next_done(pending, order))
                waits += self._done(action, order)
                continue
            self.seconds += 1.0
            for action in core.handle(event or events.Tick(), self._clock()):
                match action:
                    case events.Begin(attempt, generation):
                        failed = sum(one.number == generation for one in self.files.failed_attempts)
                        waits.append(events.Opened(attempt, dict(self.files.paid[generation]), failed))
                    case events.Ask():
                        assert not is_closed, "nothing is asked after the end"
                        pending.append((self._bought(action), 0.0))
                    case events.EndEarly(_, generation, prompts, agent):
                        assert generation not in self.files.lengths, "a generation ends early once"
                        self.files.lengths[generation] = prompts
                        self.files.sessions |= {generation: agent} if agent else {}
                    case events.PutOff(attempt, session):
                        assert session.place == len(self.files.ends) + 1, "its place is the next one"
                        self.files.end(-session.number)
                        self.most_sessions = max(self.most_sessions, len(self.files.open_sessions))
                        waits.append(events.HasPlace(attempt))
                    case events.EndTuning():
                        self.tuning_ends_after.append(self.answered)
                    case events.Confirm() | events.Prune() | events.Commit() | events.Abandon():
                        pending.append((action, 0.0))
                    case events.Reload():
                        self._take(core, [one for one in self.files.requests if one.kind is Kind.DROP])
                        waits.append(events.Reloaded(self.files.history()))
                    case events.GiveUp(generation, _):
                        self.files.give_up(generation)
                    case events.Pause(None, _):
                        self.lost_s += self.seconds - (self.lost_since or 0.0)
                        self.lost_since = None
                    case events.Pause(seconds, _):
                        self.lost_since = self.lost_since or self.seconds
                        self.seconds += seconds or 0.0
                    case events.Close():
                        is_closed = True
                    case events.Finish(reason, error):
                        self.reason = reason
                        self._note_night(ended_at=self._clock().now, stop_reason=reason)
                        if error is not None:
                            raise error
                        return True
                    case _:
                        pass
        raise AssertionError("the night has no end")

    def _bought(self, asked: events.Ask) -> events.Ask:
        """Return a request with as many samples as can be paid for."""
        return asked

    def _next_done(self, pending: Sequence[tuple[events.Action, float]], order: Random) -> int:
        """Return the place of the work that ends next: a session seldom does while there is other work."""
        quick = [place for place, (action, _) in enumerate(pending) if not _is_session(action)]
        if self.sessions and quick and order.random() < 0.95:
            return order.choice(quick)
        return order.randrange(len(pending))

    @property
    def last_in_flight(self) -> int:
        """Number of samples that were in flight last, with which a night goes on that uses answers of one before."""
        night = len(self.files.windows)
        fewer = [one.samples_in_flight for one in self.files.commits if one.night == night and one.samples_in_flight]
        return min([self.in_flight, *fewer])

    def _take_before(self) -> None:
        """Take what was asked for between nights, as is done when a run is opened."""
        files, past = self.files, self.files.history()
        paid = [(number, index + 1) for number, asked in files.paid.items() for index, _ in asked]
        first = Turn(*max([(past.generations + 1, 0), *(one for one in paid if one[0] > past.generations)]))
        files.interventions += placed(files.requests, first, files.interventions, past, None)
        files.requests = []

    def _taken(self, core: NightCore) -> list[events.Event]:
        """Take hints and pins, as the loop of a night does at once."""
        hints = [one for one in self.files.requests if one.kind is not Kind.DROP]
        return [events.Suggested(self._take(core, hints))] if hints else []

    def _take(self, core: NightCore, requests: list[Intervention]) -> list[Intervention]:
        first, files = core.state.planner.next_turn, self.files
        taken = placed(requests, first, files.interventions, files.history(), core.plan.number)
        files.interventions += taken
        files.requests = [one for one in files.requests if one not in requests]
        return taken

    def _note_night(self, **end: Any) -> None:
        best, row = self.core.state.best, self.files.nights[-1]
        generations = sum(commit.night == row.number for commit in self.files.commits)
        self.files.nights[-1] = replace(
            row, best_after=best.score, best_program_id=best.id, generations=generations, **end
        )

    def _clock(self) -> events.Clock:
        is_interrupted = self.seconds >= self.interrupted_at
        return events.Clock(NOW + timedelta(seconds=self.seconds), self.seconds, interrupted=is_interrupted)

    def _done(self, action: events.Action, order: Random) -> list[events.Event]:
        is_away = self.away[0] <= self.seconds < self.away[1]
        self.seconds += 20.0 if is_away else 0.0  # until it is known that nobody answers
        if isinstance(action, events.Ask | events.Confirm | events.Commit) and (
            is_away or order.random() < self.faults
        ):
            failed = events.Failed(action.attempt, Outage("it is away"))
            return [failed, events.Ended(action.attempt)] if isinstance(action, events.Commit) else [failed]
        match action:
            case events.Ask(attempt, number, prompts) if _is_session(action) and self.is_cut:
                return [events.Evaluated(attempt, prompts, [], self.seconds)]
            case events.Ask(attempt, number, prompts):
                return [events.Evaluated(attempt, prompts, self._answers(number, prompts), self.seconds)]
            case events.Confirm(attempt, claim):
                key = claim.id, claim.candidate.code_hash
                if (verdict := self.files.verdicts.get(key)) is None:
                    self.confirmed += 1
                    verdict = self._kept(key, self._confirmation(claim))
                return [events.Confirmed(attempt, claim.id, verdict)]
            case events.Prune():
                self.pruned += 1
                return [events.Pruned(action.attempt, self._pruned(action))]
            case events.Commit(attempt, record):
                assert all(end != record.number for end in self.files.commits), "a generation is committed once"
                self.files.end(record)
                if record.number % 2:
                    self._note_night()  # a killed night leaves a row of some moment
                return [events.Committed(attempt), events.Ended(attempt)]
            case events.Abandon(attempt, record=record):
                if record is not None:
                    self.files.failed_attempts.append(record)
                return [events.Ended(attempt)]
            case _:
                return []

    def _answers(self, number: int, prompts: Sequence[Prompt]) -> list[tuple[Candidate, Verdict]]:
        pairs = []
        for prompt in prompts:
            paid = self.files.paid[number]
            self.answered += prompt.samples * (prompt.model != TUNER)
            self.asked += max(0, prompt.samples - paid.get((prompt.index, prompt.hash), 0))
            paid[prompt.index, prompt.hash] = max(prompt.samples, paid.get((prompt.index, prompt.hash), 0))
            gain = 1000.0 * number + 20.0 * prompt.index if self.improves else 0.0
            pairs += [self._candidate(prompt, sample, gain) for sample in range(prompt.samples)]
        return [(self._timed(number, one), self._evaluated(number, one, verdict)) for one, verdict in pairs]

    def _timed(self, number: int, candidate: Candidate) -> Candidate:
        """Return a candidate with the seconds that its answer took."""
        latency_s = 100.0 if number >= self.slow_from else 1.0
        return replace(candidate, completion=replace(candidate.completion, latency_s=latency_s))

    def _evaluated(self, number: int, candidate: Candidate, verdict: Verdict) -> Verdict:
        """Return the verdict that is stored of a candidate; else store the one that it has now."""
        key = number, candidate.index, candidate.code_hash
        if (stored := self.files.verdicts.get(key)) is not None:
            return stored
        self.evaluated += 1
        return self._kept(key, verdict)

    def _kept(self, key: object, verdict: Verdict) -> Verdict:
        if verdict.outcome is not Outcome.SANDBOX_ERROR:
            self.files.verdicts[key] = verdict
        return verdict

    def _candidate(self, prompt: Prompt, sample: int, gain: float) -> tuple[Candidate, Verdict]:
        rng = Random(f"{self.seed}/{prompt.hash}/{sample}")
        true = -10.0 + rng.random() * 10.0 + gain
        claimed = true + 10.0 if rng.random() < self.liars else true
        body = f"return {rng.randrange(40)} + {true!r}"
        samples = self.files.run.problem.settings.search.samples
        completion = Completion(prompt.index, sample, prompt.hash, body, prompt.model, 10, 10, 0.0, 1.0, "stop", NOW)
        candidate = Candidate(prompt.index * samples + sample, prompt, completion, body, f"hash of {body}")
        failed = Verdict(Outcome.CRASHED, error=f"crashed {rng.randrange(5)}")
        return candidate, failed if rng.random() < 0.2 else Verdict(Outcome.SCORED, (claimed, claimed))

    def _pruned(self, wanted: events.Prune) -> Judged | None:
        """Return a smaller form of the best program, which has the same scores."""
        best = best_of(wanted.programs)
        if best.id in wanted.kept:
            return None
        index, body = pruning_index(self.files.run), f"{best.body}  # pruned"
        prompt = Prompt(
            index, "", (best.id,), PRUNER, "chat", "", (0,), best.body, "", Operator.PRUNE, best.id, best.score
        )
        completion = Completion(index, 0, "", body, PRUNER, 0, 0, 0.0, 1.0, PRUNED, NOW)
        samples = self.files.run.problem.settings.search.samples
        candidate = Candidate(index * samples, prompt, completion, body, f"hash of {body}")
        return Judged(f"{best.id}-pruned", candidate, Verdict(Outcome.SCORED, best.scores), best.score, best.score)

    def _confirmation(self, claim: Judged) -> Verdict:
        true = float(claim.candidate.body.rpartition("+ ")[2])
        return Verdict(Outcome.SCORED, (true, true))
