"""The core of a night: told of events, it says what is done next. It has no threads, clocks, files or Prefect.

Generations are blocks of prompts, and of time: one that lasts long ends early. Their prompts are asked as soon as they
are planned, so that several generations may be under way; the algorithm is told of their results in order, and they are
committed in order. Only an agent's session beside prompts is put off, and told and committed once its answer is there.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from math import inf

from overnight.flows.formatting import error_text
from overnight.flows.night import events
from overnight.flows.night.attempts import Attempt, Attempts
from overnight.flows.night.block import Block
from overnight.flows.night.failures import FINAL, Failures
from overnight.flows.night.night_limits import NightLimits, NightPlan
from overnight.flows.night.samples_in_flight import is_slow
from overnight.flows.night.search_state import SearchState
from overnight.flows.night.sessions_beside import SessionsBeside
from overnight.flows.night.stop_conditions import SPENDING, USES_WHAT_IS_BOUGHT
from overnight.flows.night.turns import prompts_in_flight
from overnight.schemas.errors import HistoryGone, Outage
from overnight.schemas.generation import GenerationRecord, RunHistory, StopReason
from overnight.schemas.program import Judged, Prompt

_FIRST_S = 5.0
"""Seconds after which the first generation of a night ends early, once it has a result."""

_BEGINS_AGAIN = "it was begun before its turn, and begins again after the generation before it"


class NightCore:
    """The decisions of one night, which begins at the time of a clock."""

    def __init__(self, state: SearchState, plan: NightPlan, clock: events.Clock) -> None:
        self.state = state
        self.plan = plan
        self.limits = NightLimits(state, plan.conditions, clock.now)
        self._clock = clock
        self._begin_s = clock.seconds
        self._retried = None if plan.retried is None else deque(plan.retried)
        self._search = state.run.problem.settings.search
        self._failures = Failures(self._search.retries, self._search.failures)
        self._attempts = Attempts()
        self._sessions = SessionsBeside(state, plan.sessions)
        self._turn: int | None = None
        self._turn_begin = clock.seconds
        self._is_cut = self._is_late = False
        self._is_reloading = self._is_drop_wanted = False
        self._end: events.Finish | None = None
        self._actions: list[events.Action] = []
        self._is_tuning_over = not state.run.problem.tunes
        self._is_closing = self._is_finished = False
        self._sessions.want()
        state.planner.widen(prompts_in_flight(state.run, plan.samples_in_flight))

    def handle(self, event: events.Event, clock: events.Clock) -> Sequence[events.Action]:
        """Take an event, and return what is to be done, in order."""
        self._clock = clock
        self._note(event)
        if not self._is_finished:
            self._proceed()
        actions, self._actions = self._actions, []
        return actions

    # Events

    def _note(self, event: events.Event) -> None:
        match event:
            case events.Reloaded():
                self._note_reloaded(event)
            case events.Cut():
                self._is_cut = True
                self._do(events.Say("the deadline has passed: this generation is cut short"))
            case events.Suggested(given):
                self.state.planner.suggest(given)
            case events.DropWanted():
                self._is_drop_wanted = True
            case events.Tick():
                pass
            case _:
                if attempt := self._attempts.find(event.attempt):
                    self._note_of(attempt, event)

    def _note_of(self, attempt: Attempt, event: events.Event) -> None:
        match event:
            case events.Opened(_, stored, failed):
                attempt.failed = failed
                left = self._samples_left(attempt.number)
                attempt.block = Block(self.state, attempt.number, stored=stored, most_samples=left)
            case events.Evaluated() if attempt.block:
                self._do(*self._failures.end_loss())
                attempt.note_evaluated(event, attempt.block, self._clock)
            case events.Confirmed(_, program_id, verdict) if attempt.block:
                attempt.confirming.discard(program_id)
                attempt.block.confirm(program_id, verdict)
            case events.HasPlace() if not attempt.is_withdrawn:
                self.state.put_off_session(attempt.number)
                self._turn = None
            case events.Pruned(_, judged):
                self._note_pruned(attempt, judged)
            case events.Failed(_, error):
                attempt.error = attempt.error or error
                if attempt.record is not None and isinstance(error, FINAL):
                    self._end = self._end or events.Finish(StopReason.FAILED, error)
                elif attempt.record is not None:
                    self._failures.note(attempt.number, error)
            case events.Committed():
                self._do(*self._failures.end_loss())
                self._attempts.note_committed()
                self._commit_next()
                self._failures.note_committed(attempt.number, self.state.put_off)
                self._do(events.Say(""))
            case events.Ended():
                self._attempts.end(attempt)
            case _:
                pass

    def _note_pruned(self, attempt: Attempt, judged: Judged | None) -> None:
        attempt.is_pruning = False
        if attempt.record is None or attempt.is_withdrawn:
            return
        if judged is not None:
            attempt.record = self.state.take_pruned(attempt.record, judged)
        if self._attempts.uncommitted[0] is attempt:
            self._commit_next()

    def _note_reloaded(self, event: events.Reloaded) -> None:
        """Go on with what the files say, after an attempt that failed; count the failure, and pause."""
        self._is_reloading = False
        if event.history is not None:
            self._is_drop_wanted = False
        failure = self._failures.take()
        if failure is None:
            self._note_dropped(event)
            return
        number, error = failure
        if event.history is not None:
            self._adopt(event.history)
            if self.state.has_ended(number):
                return  # the error came after the commit
        elif event.error is not None:
            error = event.error
        if self._failures.uses_up(number, error, self._clock.seconds):
            self._give_up(number, error)
        else:
            self._pause(number, error, is_unread=event.history is None)

    def _note_dropped(self, event: events.Reloaded) -> None:
        """Go on without a program; where that could not be recorded, try again after a pause."""
        if event.history is not None:
            self._adopt(event.history)
        elif event.error is not None:
            self._pause(self._number, event.error, is_unread=True)

    def _pause(self, number: int, error: Exception, *, is_unread: bool) -> None:
        """Wait after a failure, unless the night ends."""
        if self._failures.ends_night(error, self._clock.seconds):
            self._end = events.Finish(StopReason.FAILED, error)
        elif reason := self._reason_to_stop():
            self._end = events.Finish(reason)
        else:
            if is_unread:
                self._failures.note(number, error)  # the files are read again after the pause
            self._do(*self._failures.pause(error, self._clock))

    def _adopt(self, history: RunHistory) -> None:
        """Take the state from the files; what was settled and is not committed does not count."""
        self.state.adopt(history)
        for record in [one.record for one in self._attempts.uncommitted if one.record]:
            if not self.state.has_ended(record.number):
                self.limits.take_back(record)
                if self._retried is not None:
                    self._retried.appendleft(record.number)
        self._attempts.uncommitted.clear()
        self._turn = None

    def _give_up(self, number: int, error: Exception) -> None:
        """Continue without a generation, if that can be recorded: the state is read again."""
        self._do(events.Say(f"generation {number} is given up: {error_text(error)}"))
        if self._retried is not None:
            self._retried.popleft()
            self._pause(number, error, is_unread=False)
        else:
            self._do(events.GiveUp(number, self.state.place), events.Reload())
            self._failures.give_up(number, error)
            self._is_reloading = True

    # Decisions

    def _proceed(self) -> None:
        """Decide what is next, until nothing can be done before another event."""
        if not self._is_unsettled and self._end is None and not self._is_paused():
            while self._step():
                pass
        if self._is_unsettled:
            self._recover()
        elif self._end is not None:
            self._finish()

    @property
    def _is_unsettled(self) -> bool:
        """Whether the history is to be read again: after a failure, or between two generations for a drop."""
        is_between = self._turn is None and not self._attempts.uncommitted and self._end is None
        return self._failures.pending is not None or (self._is_drop_wanted and is_between)

    def _is_paused(self) -> bool:
        until = self._failures.paused_until
        if until is None:
            return False
        if self._clock.seconds < until and self._reason_to_stop() is None:
            return True
        self._failures.paused_until = None
        self._do(events.Say(""))
        return False

    def _step(self) -> bool:
        """Let the generation whose turn it is go on; return whether another has the turn now."""
        if self._turn is None and not self._take_turn():
            return False
        assert self._turn is not None
        attempt = self._attempts.at(self._turn) or self._begin(self._turn)
        self._ask()
        if attempt.error is not None:
            self._fail(attempt, attempt.error)
        if attempt.block is None or attempt.is_over or self._failures.pending or self._end:
            return False
        if self._sessions.is_due(attempt.number):
            self._put_off(attempt, attempt.block)
            return False
        self._do(events.Phase("sample and evaluate", attempt.number))
        self._end_early(attempt, attempt.block)
        attempt.block.resets = self.state.is_reset_due(attempt.number)
        attempt.block.advance(partial(self._end_at_target, attempt, attempt.block))
        self._confirm(attempt, attempt.block)
        self._ask()  # what was told may have made further prompts due
        self._end_tuning()
        return attempt.block.is_told and self._settle(attempt, attempt.block)

    def _take_turn(self) -> bool:
        """Choose the generation whose turn it is, and return true; or none, where the night ends or waits."""
        uncommitted = self._attempts.uncommitted
        if self._is_drop_wanted or any(one.is_pruning for one in uncommitted):
            return False  # once everything is committed
        if any(one.record and one.record.agent for one in uncommitted):
            return False  # after a kill, it would be told elsewhere, and prompts that knew of it would be others
        number = self._sessions.answered(self._attempts.open)
        impossible = self.limits.impossible_score(self.plan.history_flag)
        reason = StopReason.FAILED if impossible else self._reason_to_stop()
        if number is None and not reason and self._is_held(self._number):
            self._ask()  # sessions that begin again
            return False
        if reason and (number is None or impossible):
            is_awaited = not self._is_cut and self._sessions.are_awaited(self._attempts.open, reason)
            if not self._attempts.uncommitted and not is_awaited:  # else a commit that fails may change it
                self._end = events.Finish(reason, impossible)
            return False
        self._turn, self._turn_begin = number or self._number, self._clock.seconds
        self._is_late = self.limits.reason(self._clock) is StopReason.DEADLINE
        return True

    @property
    def _number(self) -> int:
        """Number of the generation whose turn it is."""
        return self.state.generations + 1 if self._retried is None else self._retried[0]

    def _begin(self, number: int) -> Attempt:
        attempt = self._attempts.begin(number, self._clock)
        agent = self.state.planner.begin(number)
        self._do(events.Begin(attempt.key, number))
        if agent and number not in self.state.recorded_sessions:
            self.state.recorded_sessions |= {number}
            self._do(events.EndEarly(attempt.key, number, 1, agent))
        return attempt

    def _put_off(self, attempt: Attempt, block: Block) -> None:
        """Let a session have its place, once all before it are committed, and the night go on without its answer."""
        if block.is_asked and not attempt.is_taking_place and not self._attempts.uncommitted:
            attempt.is_taking_place = True
            record = attempt.base_record(self.plan.number, self.state.best, self._clock)
            agent = self.state.planner.sessions[attempt.number]
            self._do(events.PutOff(attempt.key, replace(record, place=self.state.place, prompts=1, agent=agent)))

    def _samples_left(self, number: int) -> int | None:
        return self.limits.samples_left(number, self._sessions.samples(self._attempts.open, number))

    def _end_early(self, attempt: Attempt, block: Block) -> None:
        """Let a generation end with the prompts that are planned, once it lasts long and has something to show.

        The first ones of a night are shorter, so that what is found at its begin is seen soon. One that is under way
        when a person ends the night asks for no more, nor one that would not end before the deadline as usual.
        """
        most_s = min(self._search.seconds, max(_FIRST_S, attempt.begin - self._begin_s)) or inf
        is_long = attempt.evaluated_at and self._clock.seconds - attempt.begin >= most_s
        if is_long or self._clock.interrupted or self._is_late:
            self._end_with_planned(attempt, block)

    def _end_at_target(self, attempt: Attempt, block: Block) -> None:
        """Let a generation end early once a program claims what ends the night, so that nobody is asked to beat it."""
        if self.limits.is_target_claimed():
            self._end_with_planned(attempt, block)

    def _end_with_planned(self, attempt: Attempt, block: Block) -> None:
        is_batch = self.state.run.problem.settings.sampling.batch_api
        if block.is_asked or is_batch or not self.state.is_in_order(attempt.number):
            return
        if (prompts := block.end_early()) is not None:
            self._do(events.EndEarly(attempt.key, attempt.number, prompts))

    def _ask(self) -> None:
        """Ask all prompts that are due, and begin the next generation where all of the latest one's are asked."""
        is_ending = self._clock.interrupted or self._is_cut or self.limits.is_target_claimed()
        if self._retried is None and not is_ending:
            self._sessions.want()
            for number in self._sessions.to_go_on(self._attempts.open):
                self._begin(number)
        is_last = self._clock.interrupted or self.limits.reason(self._clock) in SPENDING
        for attempt in self._attempts.open:
            if attempt.block is None or attempt.error:
                continue
            if self._is_cut:
                attempt.block.leave_out()
            if is_last and attempt.number != self._turn:
                continue  # the night ends before its turn, or without further answers
            for prompts in attempt.block.due():
                self._do(events.Ask(attempt.key, attempt.number, prompts, self._group(attempt.number, attempt.block)))
            if attempt.number in self.state.put_off and attempt.number != self._turn and attempt.block.is_answered:
                self._run_again(attempt, attempt.block.claims_before_its_turn())
        latest = self._in_order[-1] if self._in_order else None
        if latest and latest.block and latest.block.is_asked and self._may_begin(latest.number + 1):
            self._begin(latest.number + 1)

    @property
    def _in_order(self) -> list[Attempt]:
        """Attempts that are not over, but for those of sessions that are put off."""
        return [one for one in self._attempts.open if one.number not in self.state.put_off]

    def _end_tuning(self) -> None:
        """Let the tuner end with the last answer of a model, unless it still gains."""
        attempts = self._in_order
        if self._is_tuning_over or not attempts or not all(one.block and one.block.is_answered for one in attempts):
            return
        latest = attempts[-1].number
        if len(self._retried) == 1 if self._retried is not None else not self._allows(latest + 1):
            self._is_tuning_over = True
            self._do(events.EndTuning())

    def _group(self, number: int, block: Block) -> dict[int, Sequence[Prompt]] | None:
        """Return the prompts of a generation and of the later ones of its group that the night will begin."""
        if not self.state.run.problem.settings.sampling.batch_api:
            return None
        numbers = self.state.rest_of_batch(number)
        return block.group([each for each in numbers if each == number or self._allows(each)])

    def _may_begin(self, number: int) -> bool:
        """Return whether a later generation may begin before its turn: within the window, or the next batch job."""
        size = self._search.prompts
        ahead = 1 if self.state.run.problem.settings.sampling.batch_api else -(-self.state.planner.window // size)
        is_near = number <= self.state.generations + 1 + ahead
        return is_near and self._allows(number) and not self.limits.is_target_claimed()

    def _allows(self, number: int) -> bool:
        """Return whether a later generation may begin at all."""
        is_over = self._retried is not None or self._is_cut or self._is_held(number)
        return not is_over and self.limits.allow(number, self._clock)

    def _is_held(self, number: int) -> bool:
        """Return whether all samples that a generation may ask for are those of agents that work."""
        is_paid = self.state.generations < self.state.asked_before
        return bool(self.state.put_off) and not is_paid and self._samples_left(number) == 0

    def _confirm(self, attempt: Attempt, block: Block) -> None:
        """Run claims again, as many at a time as there are slots for it; those that all wait for come first."""
        if block.needed:
            self._do(events.Phase("confirm"))
        self._run_again(attempt, block.wanted)

    def _run_again(self, attempt: Attempt, claims: Iterable[Judged]) -> None:
        for claim in claims:
            if claim.id not in attempt.confirming and len(attempt.confirming) < self.plan.most_confirmations:
                attempt.confirming.add(claim.id)
                self._do(events.Confirm(attempt.key, claim))

    # The end of a generation

    def _settle(self, attempt: Attempt, block: Block) -> bool:
        """Commit a generation that the algorithm was told of, if it is worth it; return whether it is."""
        is_unused = block.leaves_answers() and not self.plan.after_empty_night
        if is_unused or not block.is_worth_committing(is_cut=self._is_cut):
            return self._leave(attempt)
        record = block.record(attempt.base_record(self.plan.number, self.state.best, self._clock))
        record = replace(record, samples_in_flight=self._fewer_in_flight(record))
        self.limits.count(record, self._clock.seconds - max(self._turn_begin, self._clock.answered_at))
        if self._retried is not None:
            self._retried.popleft()
        self.state.settle(record)
        self._attempts.settle(attempt, record)
        for later in self._attempts.open:
            if later.block:
                later.block.most_samples = self._samples_left(later.number)
        self._turn = None
        self._prune(attempt)
        if len(self._attempts.uncommitted) == 1:
            self._commit_next()
        return True

    def _fewer_in_flight(self, record: GenerationRecord) -> int | None:
        """Return the number of samples in flight after a generation, if its slow answers make them fewer."""
        few = self.plan.samples_if_slow
        if few is None or record.agent or prompts_in_flight(self.state.run, few) >= self.state.planner.window:
            return None
        return few if is_slow(record) else None

    def _prune(self, attempt: Attempt) -> None:
        """Prune the night's best program, if this generation is its last one and there is time for it."""
        problem, number = self.state.run.problem, attempt.number
        reason = self._reason_to_stop()
        if reason in (None, StopReason.INTERRUPTED, StopReason.FAILED):
            return
        is_left = self._is_cut or self._clock.interrupted or self._retried is not None
        is_last = not self._sessions.are_awaited(self._attempts.open, reason)  # which may bring a better one
        if is_last and not is_left and problem.pruning_evaluations:
            attempt.is_pruning = True
            self._do(events.Phase("prune"), events.Prune(attempt.key, number, *self.state.prunable()))

    def _commit_next(self) -> None:
        """Commit the first generation that is settled, once those before it are committed."""
        if self._failures.pending is None and (first := self._attempts.commit_first()):
            assert first.record is not None
            self._do(events.Phase("select"), events.Commit(first.key, first.record))

    def _leave(self, attempt: Attempt) -> bool:
        """End a generation without a verdict, whose completions are kept; return whether the night goes on at once."""
        self._do(events.Abandon(attempt.key, "nothing was judged before it ended; it is not committed"))
        attempt.is_over = True
        self._turn = None
        if attempt.number in self.state.put_off:
            self._sessions.ended.add(attempt.number)
            return True
        error = Outage(f"no completion arrived for generation {attempt.number}", remedy="It is asked for again.")
        self._failures.note(attempt.number, error)
        return False

    # Failures and the end of the night

    def _fail(self, attempt: Attempt, error: Exception) -> None:
        record = attempt.base_record(self.plan.number, self.state.best, self._clock, error_text(error))
        self._do(
            events.Abandon(attempt.key, "", error=error, record=None if isinstance(error, HistoryGone) else record)
        )
        attempt.is_over = True
        self._turn = None
        if isinstance(error, FINAL):
            self._end = events.Finish(StopReason.FAILED, error)
        else:
            self._failures.note(attempt.number, error)

    def _recover(self) -> None:
        """After a failure, or for a drop, end what is under way, then read the state again from the files."""
        self._withdraw(_BEGINS_AGAIN)
        if self._attempts.are_withdrawn and not self._is_reloading and not self._is_paused():
            self._is_reloading = True
            self._do(events.Reload())

    def _withdraw(self, why: str) -> None:
        for attempt in self._attempts.withdraw():
            self._do(events.Abandon(attempt.key, why, is_cancelled=True))

    def _finish(self) -> None:
        """Ask for nothing further, wait for what is in flight, which is paid for, and end."""
        assert self._end is not None
        if not self._is_closing:
            self._is_closing = True
            self._do(*self._failures.end_loss(), events.Close())
            self._withdraw("the night has ended before its turn")
        if self._attempts.have_ended:
            self._is_finished = True
            self._do(self._end)

    def _reason_to_stop(self) -> StopReason | None:
        reason = self.limits.reason(self._clock)
        if self._is_cut:
            return reason or StopReason.DEADLINE  # the clock may have been set back since
        if self._retried is not None:
            return reason or (None if self._retried else StopReason.GENERATIONS)
        is_paid = reason in USES_WHAT_IS_BOUGHT and (
            self._number in self._clock.batch_brought or self._is_bought(self._number)
        )
        return None if is_paid else reason

    def _is_bought(self, number: int) -> bool:
        """Return whether a generation that was begun before its turn has answers, or waits for some."""
        attempt = self._attempts.at(number)
        return attempt is not None and attempt.block is not None and attempt.block.is_bought

    def _do(self, *actions: events.Action) -> None:
        self._actions += actions
