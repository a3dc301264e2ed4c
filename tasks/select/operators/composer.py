"""Complete the plans of any algorithm: which operator, which model, what the prompt tells of earlier answers.

An algorithm decides which programs a prompt shows. The composer decides what is asked of them. Its state is a function
of the records that it was told of, in order, as an algorithm's is; so a run can be resumed and replayed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from random import Random

from overnight.schemas.agent_settings import split_agent
from overnight.schemas.algorithm import Algorithm, Plan, Turn
from overnight.schemas.feedback import Feedback, PromptRecord, latest_feedback
from overnight.schemas.interventions import Intervention
from overnight.schemas.operators import Operator, says_size
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import TUNER, Program, program_of
from overnight.tasks.select.operators.follow_ups import Repairs, TuningTargets, is_repairable
from overnight.tasks.select.operators.known_programs import KnownPrograms
from overnight.tasks.select.operators.ledger import Ledger, TriedIdea, plain
from overnight.tasks.select.operators.model_choice import ModelChoice, Price
from overnight.tasks.select.operators.operator_choice import (
    SHARES,
    OperatorChoice,
    band_of,
    fits,
    lines_of_thought,
    stagnation_operator,
)

_LATE = 24
"""Latest answers among which a failed or worse child of an earlier version is told."""


class Composer:
    """Completes plans."""

    def __init__(self, problem: Problem, start: Program, seed: int) -> None:
        settings = problem.settings
        self._search, self._seed = settings.search, seed
        self._objectives = settings.objectives
        self._models = {model.name: model for model in settings.sampling.prompted}
        self._chooses_models = self._search.chooses_models and len(self._models) > 1
        self._known = KnownPrograms(start, settings.noise, settings.objectives)
        self._operators = OperatorChoice()
        self._model_choice = ModelChoice({name: model.weight for name, model in self._models.items()})
        self._ledger = Ledger(self._search.ledger, settings.noise)
        self._repairs = Repairs(self._search.repairs)
        self._targets = TuningTargets(settings.tuner.share)
        self._ideas: dict[str, str] = {}
        self._feedback: dict[str, tuple[int, Feedback]] = {}
        self._answers = self._best_at = 0

    def add(self, programs: Mapping[str, Program]) -> None:
        """Add programs that the search began with."""
        for program in programs.values():
            self._known.note(program)
            self._targets.note(program)

    def gain_of(self, answer: Feedback) -> float | None:
        """Return what an answer gained on its base; `None` where nothing is chosen by gains."""
        base = self._known.get(answer.parent_id)
        is_compared = bool(self._search.chosen_operators) or self._chooses_models
        if base is None or not is_compared or answer.outcome is Outcome.SANDBOX_ERROR:
            return None
        return self._known.gains.gain(answer.score, base.score)

    def tell(self, record: PromptRecord) -> None:
        answers = [one for one in record.answers if one.outcome is not Outcome.SANDBOX_ERROR]
        if record.operator == Operator.TUNE:
            self._tell_tuned(record, answers)
            return
        gains = [self.gain_of(one) or 0.0 for one in answers]
        self._tell_choices(record, answers, gains)
        self._repairs.tell(record)
        self._answers += len(answers)
        self._targets.tell(sum(one.outcome is not Outcome.DUPLICATE and bool(one.body) for one in answers))
        for answer, gain in zip(answers, gains, strict=True):
            idea = self._ideas.get(answer.failed_id) or answer.idea  # a repair keeps the idea of what it mends
            if is_repairable(answer):
                self._ideas[answer.program_id] = idea
            tried = self._tried(replace(answer, idea=idea), gain)
            self._ledger.add(replace(tried, is_fresh=record.operator == Operator.FRESH))
            self._learn_score(answer, record.niche)
        latest = latest_feedback([one for one in answers if not self._is_better_beside(one)], self._known.score_of)
        self._feedback |= {base: (self._answers, one) for base, one in latest.items()}

    def _is_better_beside(self, answer: Feedback) -> bool:
        """Return whether an answer is better than its base in an objective beside the score."""
        base = self._known.get(answer.parent_id)
        if base is None or answer.score is None:
            return False
        return any(self._objectives.changes(answer.metrics, base.metrics).values())

    def _tried(self, answer: Feedback, gain: float) -> TriedIdea:
        """Return what the ledger keeps of an answer, before its program is known."""
        base = self._known.get(answer.parent_id)
        beside = "" if answer.score is None else self._objectives.compared(answer.metrics, base.metrics if base else {})
        return TriedIdea(
            answer.idea,
            answer.parent_id,
            answer.program_id,
            error="" if answer.outcome is Outcome.DUPLICATE else answer.error,
            score=answer.score,
            base_score=base.score if base else None,
            best_before=self._known.best_score,
            beside=beside,
            is_better=gain > 0.0 or self._is_better_beside(answer),
            is_untried=answer.outcome in (Outcome.UNPARSABLE, Outcome.CRASHED, Outcome.UNCONFIRMED),
            is_repeated=_is_repeated(answer),
        )

    def _tell_choices(self, record: PromptRecord, answers: list[Feedback], gains: list[float]) -> None:
        self._model_choice.tell(record.model, gains, Price(record.tokens, record.cost_usd))
        if not record.operator:
            return
        for answer, gain in zip(answers, gains, strict=True):
            base = self._known.get(answer.parent_id)
            if base is not None:
                band = band_of(self._known.gains.rank(base.score))
                self._operators.tell(Operator(record.operator), band, has_gained=gain > 0.0)

    def _tell_tuned(self, record: PromptRecord, answers: list[Feedback]) -> None:
        for answer in answers:
            if (base := self._known.get(answer.parent_id)) is not None:
                self._targets.tell_tuned(base, _program(answer), record.evaluations)
            self._learn_score(answer, record.niche)

    def _learn_score(self, answer: Feedback, niche: str) -> None:
        program = _program(answer)
        if program is None:
            return
        self._targets.note(program)
        if self._known.note_answer(program, answer.parent_id, niche, self._answers):
            self._best_at = self._answers
            self._model_choice.note_best()

    def compose(
        self,
        plan: Plan,
        turn: Turn,
        place: int,
        followed: PromptRecord | None,
        hint: Intervention | None = None,
        beside: Sequence[tuple[Turn, Plan]] = (),
        agent: str = "",
    ) -> Plan:
        """Return a plan with everything that is asked.

        Args:
            plan: The algorithm's plan.
            turn: Its position.
            place: Its place among the plans that are made at the same moment, from 0.
            followed: Record of the prompt that it follows, if any: it repairs a failure there, or is told what was
                repeated. No other plan follows the same prompt.
            hint: What a person asks for in this prompt; the base is pinned already.
            beside: Plans whose answers are not known yet: the same is not asked twice at a time, if it can be helped.
            agent: Model of the agent that is asked; by default, the model is chosen.
        """
        plan = self._composed(
            replace(plan, model=agent),
            *(turn, place, followed, hint),
            [one for at, one in beside if at.generation == turn.generation],
        )
        if not self._search.chosen_operators or self._is_completion_model(plan.model):
            return plan
        number = (turn.generation - 1) * self._search.prompts + turn.index
        return told_apart(plan, [one for _, one in beside], number, names_size=not self._is_agent(plan.model))

    def _composed(
        self,
        plan: Plan,
        turn: Turn,
        place: int,
        followed: PromptRecord | None,
        hint: Intervention | None,
        beside: Sequence[Plan],
    ) -> Plan:
        """Return a plan with everything that is asked but for a line of thought; `beside` is of its generation."""
        rng = Random(f"{self._seed}/{turn.generation}/{turn.index}/compose")
        stagnation = self._stagnation(place)
        model = plan.model or self._model(rng, is_stagnating=stagnation is not None)
        plan = replace(plan, model=model)
        if self._is_completion_model(model):  # it is told nothing, but may get another program to build on
            return replace(plan, operator=Operator.HINT) if hint and hint.program_id else plan
        plan = self._with_feedback(replace(plan, best=self._known.best_beside(plan.base)))
        if hint:
            tried = self._tried_text(plan) if self._search.chosen_operators else ""
            return replace(plan, operator=Operator.HINT, tactic=hint.text, tried=tried)
        if not self._search.chosen_operators:
            return plan
        if not plan.base.is_scored:  # there is nothing to build on yet
            return replace(plan, tried=self._ledger.text(plan.base.id))
        if followed and (failed := self._failed(followed, rng)):
            return self._repair(plan, followed, *failed)
        plan = self._with_operator(plan, rng, stagnation, beside)
        answers = followed.answers if followed else ()
        repeated = [one.idea for one in answers if _is_repeated(one) and one.idea]
        return replace(plan, tried=self._tried_text(plan, repeated))

    def _with_feedback(self, plan: Plan) -> Plan:
        """Return a plan with the last child of its base that is no better, or a late one of a program it came from.

        With many samples in flight, a child is judged when its base is no longer the base of any prompt. One that was
        judged before the base was says nothing that helps.
        """
        if not self._search.feedback_chars:
            return plan
        if (own := self._feedback.get(plan.base.id)) is not None:
            return replace(plan, feedback=own[1])
        born = self._known.born(plan.base.id)
        late = (self._feedback[one] for one in self._known.ancestors(plan.base.id) if one in self._feedback)
        found = [one for one in late if one[0] >= born and self._is_telling(one[1])]
        answers, feedback = max(found, key=lambda one: one[0], default=(0, None))
        if feedback is None or self._answers - answers > _LATE:
            return plan
        return replace(plan, feedback=feedback, tried_on=self._known.get(feedback.parent_id))

    def _is_telling(self, feedback: Feedback) -> bool:
        """Return whether a try on an earlier version failed, or was worse than one that is not far behind."""
        tried_on = self._known.score_of(feedback.parent_id)
        if feedback.score is None or tried_on is None:
            return True
        return feedback.score < tried_on and not self._known.is_behind(feedback.parent_id)

    def knows(self, program_id: str) -> bool:
        """Return whether the search was told of a program, and has it still."""
        return self._known.get(program_id) is not None

    def pinned(self, plan: Plan, program_id: str, algorithm: Algorithm) -> Plan | None:
        """Return a plan with another base, in its niche; `None` if the search has not been told of that program."""
        base = self._known.get(program_id)
        if base is None:
            return None
        others = [one for one in plan.shown if one.score <= base.score and one.scores != base.scores]
        niche = _home_of(base, algorithm) or plan.niche
        return replace(plan, niche=niche, shown=(*others[: len(plan.shown) - 1], base))

    def _tried_text(self, plan: Plan, repeated: Sequence[str] = ()) -> str:
        """Return what a prompt lists of what was tried on its base, and on the program that this came from."""
        base_id, told = plan.base.id, plan.feedback.error if plan.feedback else ""
        shown = {one.id for one in plan.shown}
        return self._ledger.text(base_id, self._known.base_of(base_id), repeated=repeated, shown=shown, told=told)

    def tuning(self, algorithm: Algorithm) -> Plan | None:
        """Return a plan that tunes the numbers of a program; `None` if none is to be tuned now."""
        niches = algorithm.niches
        target = self._targets.next([niche.best for niche in niches.values() if niche.best.is_scored])
        if target is None:
            return None
        niche = _home_of(target, algorithm) or next(iter(niches))
        return Plan(niche, (target,), operator=Operator.TUNE, model=TUNER)

    def _stagnation(self, place: int) -> tuple[Operator, str] | None:
        per_prompt = self._search.samples
        since_best = self._answers + place * per_prompt - self._best_at
        found = stagnation_operator(since_best, self._answers, per_prompt)
        return found if found and found[0] in self._search.chosen_operators else None

    def _model(self, rng: Random, *, is_stagnating: bool) -> str:
        if len(self._models) == 1:
            return next(iter(self._models))
        if not self._chooses_models:
            return ""
        return self._model_choice.other if is_stagnating else self._model_choice.choose(rng)

    def _is_completion_model(self, model: str) -> bool:
        """Return whether a model continues texts; where it is drawn later, whether any does."""
        models = [self._models.get(model)] if model else self._models.values()
        return any(one is not None and one.style == "completion" for one in models)

    def _is_agent(self, model: str) -> bool:
        """Return whether an agent works with a model; where it is drawn later, whether any does."""
        return any(split_agent(one)[0] for one in ([model] if model else self._models))

    def _failed(self, record: PromptRecord, rng: Random) -> tuple[Feedback, Program] | None:
        """Return the child to repair among the answers to a prompt, and its base."""
        if Operator.REPAIR not in self._search.chosen_operators:
            return None
        base = self._known.get(record.answers[-1].parent_id) if record.answers else None
        if base is None:
            return None
        failed = self._repairs.wanted(record, self._known.gains.rank(base.score), rng)
        return (failed, base) if failed else None

    def _repair(self, plan: Plan, record: PromptRecord, failed: Feedback, base: Program) -> Plan:
        errors = self._ledger.text(base.id, lists_ideas=False, told=failed.error)
        failed = replace(failed, idea=plain(self._ideas.get(failed.program_id, failed.idea)))
        plan = replace(plan, niche=record.niche, shown=(base,), feedback=None, tried=errors)
        return replace(plan, operator=Operator.REPAIR, failed=failed, best=self._known.best_beside(base))

    def _with_operator(
        self, plan: Plan, rng: Random, stagnation: tuple[Operator, str] | None, beside: Sequence[Plan]
    ) -> Plan:
        shown = self._known.shown(plan)
        if stagnation:
            operator, tactic = stagnation
            return replace(plan, operator=operator, tactic=tactic, shown=shown)
        partner = self._known.partner(plan)
        enabled = [one for one in SHARES if one in self._search.chosen_operators and fits(one, plan.base.body, partner)]
        if self._known.shows_better(plan):
            # Neither one change nor less of it brings it up; of what the search began with, nothing is worth keeping.
            is_of_answer = bool(self._known.base_of(plan.base.id))
            fitting = [one for one in enabled if one is Operator.FRESH or (is_of_answer and one.facts.suits_worse_base)]
            enabled = fitting or enabled
        elif not self._known.base_of(plan.base.id) and Operator.IMPROVE in enabled:
            enabled = [Operator.IMPROVE]  # what a model knows of such problems comes out where it is asked openly
        if not enabled:
            return replace(plan, shown=shown)
        asked = {one.operator for one in beside if one.model == plan.model and one.base.id == plan.base.id}
        band = band_of(self._known.gains.rank(plan.base.score))
        operator = self._operators.choose(enabled, band, rng)
        others = [one for one in self._operators.worth_asking(enabled, band) if one not in asked]
        if others and operator in asked:
            operator = self._operators.choose(others, band, rng)
        if operator is Operator.CROSS and partner:
            shown = (partner, plan.base)
        # What is shown in full, and may be to be combined, is not told as what did not do better.
        is_shown = plan.feedback is not None and any(one.body == plan.feedback.body for one in shown)
        return replace(plan, operator=operator, shown=shown, feedback=None if is_shown else plan.feedback)


def told_apart(plan: Plan, beside: Iterable[Plan], number: int, *, names_size: bool = True) -> Plan:
    """Return a plan with a line of thought where plans without results ask the same, so that no two prompts are equal.

    Which it is follows from the number of the prompt alone, so that it can be found again after a resume. Two of their
    texts may differ for another reason, such as the ideas that they list; that does not count. Operators that only say
    how much may change are the same where a prompt does not say it (`names_size`).
    """
    if not any(_asked(one, names_size) == _asked(plan, names_size) for one in beside):
        return plan
    lines = lines_of_thought(plan.operator)
    return replace(plan, angle=lines[number % len(lines)])


def _asked(plan: Plan, names_size: bool) -> tuple[object, ...]:
    """Return what a plan asks for, without its line of thought and what it tells beside."""
    failed = plan.failed.program_id if plan.failed else ""
    operator = None if says_size(plan.operator) and not names_size else plan.operator
    of_front = plan.gap is not None, plan.keeps_score
    return plan.model, operator, plan.tactic, failed, of_front, tuple(one.id for one in plan.shown)


def _home_of(program: Program, algorithm: Algorithm) -> str:
    """Return the first niche that a program lives in; empty if it lives in none."""
    niches = algorithm.niches.items()
    return next((name for name, niche in niches if any(one.id == program.id for one in niche.programs)), "")


def _is_repeated(answer: Feedback) -> bool:
    """Return whether an answer is a program that was judged before; one without a program found nothing better."""
    return answer.outcome is Outcome.DUPLICATE and bool(answer.body)


def _program(answer: Feedback) -> Program | None:
    """Return the program of a scored answer."""
    return None if answer.score is None else program_of(answer)
