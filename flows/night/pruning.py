"""The pruning of a night's best program, by evaluations in the run's slots, and what becomes of it."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from overnight.flows.formatting import duration
from overnight.flows.night import events
from overnight.flows.night.finalists import Ranking
from overnight.flows.night.open_run import OpenRun
from overnight.flows.night.turns import pruning_index
from overnight.schemas.errors import OvernightError
from overnight.schemas.objectives import NO_OBJECTIVES
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import STOPPED_BY_DEADLINE, Outcome, Verdict
from overnight.schemas.program import NO_GAIN, PRUNED, PRUNER, Candidate, Completion, Judged, Program, Prompt
from overnight.schemas.scores import with_score
from overnight.tasks.evaluate.confirmation import ConfirmationRules
from overnight.tasks.sample.sampler import to_candidates
from overnight.tasks.select.selection import judge
from overnight.tasks.tune.bodies import completion_text
from overnight.tasks.tune.pruning import Pruning, lengths
from overnight.tasks.tune.source import Inputs, are_done

_LOOK_S = 0.2
"""Seconds after which a pruning looks whether a person ends the night."""

_LEAST_S = 60.0
"""Seconds that a pruning may take at least."""

_SHARE = 0.1
"""Share of the night so far that it may take at most beside."""

_TIMES = 2.0
"""Factor on the seconds of the program itself that its smaller forms may take each."""

_SLOWER = 1.5
"""Factor on the processor time of the program itself that its smaller forms may take each."""

_SLACK_S = 0.2
"""Seconds of processor time that they may take beside, since short times vary."""


class _Stopped(Exception):
    """The night ends, or the time of this pruning does."""


def prune_best(run: OpenRun, wanted: events.Prune, stopped: threading.Event) -> Judged | None:
    """Prune the best of some programs, and confirm the result; say what came of it.

    Args:
        run: The open run.
        wanted: What is to be pruned.
        stopped: Set once nobody waits for the result.

    Returns:
        The candidate that came of it; `None` if the best one was pruned before, has other scores now, or could not be
        pruned in time.
    """
    trials, rules = _Trials(run, stopped), ConfirmationRules.of(run.run.problem.settings)
    run.trials.is_last.set()  # a night that waits for its end no longer gives way to others
    try:
        best = trials.best_of(wanted.programs)
        if best.id in wanted.kept:
            return None
        if not trials.take(best):
            run.progress.note(f"{best.id} is not pruned: it does not get its scores again")
            return None
        judged = judge_pruned(run, wanted.number, *trials.pruned(best), rules)
        if judged.verdict.outcome is Outcome.SANDBOX_ERROR:
            raise OvernightError(judged.verdict.error, remedy="run `overnight doctor`")
    except _Stopped:
        run.progress.note("pruning was stopped; the best program stays as it was found")
        return None
    except OvernightError as error:
        run.progress.note(
            f"pruning failed, and the best program stays as it was found: {error.message}; {error.remedy}"
        )
        return None
    if judged.candidate.completion.text and judged.score is None:
        run.progress.note(f"what is left of {best.id} is not confirmed; it stays the best: {judged.verdict.error}")
    return judged


def prompt_of(run: OpenRun, program: Program) -> Prompt:
    """Return what stands for a prompt where a program is pruned, without ids, which differ between runs."""
    return Prompt(
        index=pruning_index(run.run),
        niche="",
        parent_ids=(program.id,),
        model=PRUNER,
        style="chat",
        text=f"Leave out of this program what changes no score.\n\n{program.body}",
        seeds=(0,),
        base=program.body,
        operator=Operator.PRUNE,
        base_id=program.id,
        base_score=program.score,
    )


def judge_pruned(
    run: OpenRun, generation: int, candidate: Candidate, verdict: Verdict, rules: ConfirmationRules
) -> Judged:
    """Return a pruned program with its score, after its confirmation if programs are confirmed."""
    settings, pairs = run.run.problem.settings, [(candidate, candidate.verdict or verdict)]
    (judged,) = judge(run.run.run_id, generation, pairs, settings.reducer, objectives=settings.objectives)
    if judged.score is None or rules.which == "never":
        return judged
    return rules.settled(judged, run.confirmer.run_again(judged, generation))


@dataclass
class _Trials:
    """The evaluations of one pruning.

    Attributes:
        until: Time at which they end, in seconds of the monotonic clock; `None` before the program itself was run.
        kept: Verdicts on the program itself, by inputs, whose scores are to be kept.
    """

    run: OpenRun
    stopped: threading.Event
    until: float | None = None

    def __post_init__(self) -> None:
        self._problem = self.run.run.problem
        self._inputs: list[Inputs] = ["train"]
        if self.run.trials.has("validation"):
            self._inputs.append("validation")
        self._kept: dict[Inputs, Verdict] = {}
        self._seen: dict[str, Verdict] = {}
        self._begin, self._asked_at = time.monotonic(), datetime.now(UTC)

    def best_of(self, programs: Sequence[Program]) -> Program:
        """Return the program that would be the first of a final evaluation now, before its confirmation."""
        settings, scores = self._problem.settings, dict[str, float]()
        if "validation" in self._inputs:
            verdicts = self._verdicts([one.body for one in programs], "validation")
            for program, verdict in zip(programs, verdicts, strict=True):
                _, score, _ = with_score(verdict, settings.reducer, NO_OBJECTIVES)
                if score is not None:
                    scores[program.id] = score
        return Ranking.of(self._problem, self.run.state.start).ranked(programs, scores)[0]

    def take(self, program: Program) -> bool:
        """Evaluate the program itself; return whether it is pruned: if it has its scores again, or a person asks."""
        begin = time.monotonic()
        for inputs in self._inputs:
            (self._kept[inputs],) = self._verdicts([program.body], inputs)
        if not all(one.is_scored for one in self._kept.values()):
            return False
        limit = self._problem.pruning_evaluations
        seconds = _TIMES * limit * (time.monotonic() - begin) / self.run.slots
        most = _SHARE * (time.monotonic() - self.run.progress.begin)
        self.until = time.monotonic() + max(_LEAST_S, min(seconds, most))
        settings, now = self._problem.settings, self._kept["train"]
        _, _, metrics = with_score(now, settings.reducer, settings.objectives)
        repeats = now.scores == program.scores and not settings.objectives.changes(metrics, program.metrics)
        return repeats or settings.search.prune is not None

    def pruned(self, program: Program) -> tuple[Candidate, Verdict]:
        """Prune the program; return what came of it with its verdict.

        Raises:
            _Stopped: If there was no time for it.
        """
        problem, kept, note = self._problem, self._kept["train"], self.run.progress.note
        limit, slots, skeleton = problem.pruning_evaluations, self.run.slots, problem.specification
        most = "" if self.until is None else f" and {duration(self.until - time.monotonic())}"
        note(f"pruning {program.id}: what no score needs is left out, in at most {limit} evaluations{most}")
        pruning = Pruning(skeleton, program.body, self._keeps, problem.code_hash, limit, slots, self._check)
        is_done = False
        with suppress(_Stopped):
            pruning.run()
            is_done = True
        has_changed = pruning.body != program.body
        if self._is_left or not (is_done or has_changed):
            raise _Stopped
        text, said = "", "nothing can be left out"
        if has_changed:
            said = lengths(skeleton, program.body, pruning.body)
            text = completion_text(skeleton, program.body, pruning.body, f"left out what no score needs: {said}")
        completion = self._completion(program, text, pruning.used)
        (candidate,) = to_candidates([prompt_of(self.run, program)], [completion], problem)
        if has_changed and candidate.code_hash != problem.code_hash(pruning.body):
            raise OvernightError(
                "what is left of it is read as another program",
                remedy="set `search.prune` to 0 to leave best programs as they are found",
            )
        ended = "" if is_done else "; it ended early"
        note(f"pruned {program.id}: {said}, in {pruning.used} evaluations{ended}")
        return candidate, self._seen.get(candidate.code_hash, kept)

    def _completion(self, program: Program, text: str, evaluations: int) -> Completion:
        prompt = prompt_of(self.run, program)
        return Completion(
            prompt=prompt.index,
            sample=0,
            prompt_hash=prompt.hash,
            text=text,
            model=PRUNER,
            tokens_in=0,
            tokens_out=0,
            cost_usd=0.0,
            latency_s=time.monotonic() - self._begin,
            finish_reason=PRUNED if text else NO_GAIN,
            asked_at=self._asked_at,
            evaluations=evaluations,
        )

    def _keeps(self, bodies: Sequence[str]) -> list[bool]:
        left = set(range(len(bodies)))
        for inputs in self._inputs:
            places = sorted(left)
            verdicts = self._verdicts([bodies[place] for place in places], inputs) if places else []
            if inputs == "train":
                names = [self._problem.code_hash(bodies[place]) for place in places]
                self._seen |= dict(zip(names, verdicts, strict=True))
            left = {place for place, one in zip(places, verdicts, strict=True) if self._is_kept(one, inputs)}
        return [place in left for place in range(len(bodies))]

    def _is_kept(self, verdict: Verdict, inputs: Inputs) -> bool:
        """Return whether no score and no objective is worse than the program's, but for the problem's noise.

        Nor may it take much more processor time, which a value that is computed again and again would.
        """
        settings, before = self._problem.settings, self._kept[inputs]
        _, score, metrics = with_score(verdict, settings.reducer, settings.objectives)
        is_slow = before.cpu_s > 0.0 and verdict.cpu_s > _SLOWER * before.cpu_s + _SLACK_S
        if score is None or is_slow or len(verdict.scores) != len(before.scores):
            return False
        _, _, metrics_before = with_score(before, settings.reducer, settings.objectives)
        is_better = settings.objectives.changes(metrics, metrics_before).values()
        pairs = zip(verdict.scores, before.scores, strict=True)
        return all(is_better) and all(one >= other - settings.noise for one, other in pairs)

    @property
    def _is_left(self) -> bool:
        """Whether nobody waits for the result, or a person ends the night."""
        return self.stopped.is_set() or self.run.progress.interrupted

    def _check(self) -> None:
        """Raise `_Stopped` if the night ends, or the time of this pruning."""
        is_late = self.until is not None and time.monotonic() > self.until
        if is_late or self._is_left or self.run.limits.is_closing:
            raise _Stopped

    def _verdicts(self, bodies: Collection[str], inputs: Inputs) -> list[Verdict]:
        """Evaluate bodies.

        Raises:
            _Stopped: If the night ends before, or the time of this pruning.
        """
        begun = [self.run.trials.submit(body, inputs) for body in bodies]
        try:
            while not are_done(begun, _LOOK_S):
                self._check()
        except _Stopped:
            for one in begun:
                one.cancel()
            raise
        try:
            verdicts = [one.result() for one in begun]
        except CancelledError:
            raise _Stopped from None
        if STOPPED_BY_DEADLINE in verdicts:
            raise _Stopped
        return verdicts
