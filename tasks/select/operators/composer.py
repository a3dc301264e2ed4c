"""Complete the plans of any algorithm: which operator, which model, what the prompt tells of earlier answers.

An algorithm decides which programs a prompt shows. The composer decides what is asked of them. Its state is a function
of the records that it was told of, in order, as an algorithm's is; so a run can be resumed and replayed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from overnight.schemas.algorithm import Algorithm, Plan, Turn
from overnight.schemas.feedback import Feedback, PromptRecord, latest_feedback
from overnight.schemas.interventions import Intervention
from overnight.schemas.operators import Operator
from overnight.schemas.outcome import Outcome
from overnight.schemas.problem import Problem
from overnight.schemas.program import NO_SCORE, TUNER, Program, program_of
from overnight.tasks.select.operators.follow_ups import Repairs, TuningTargets
from overnight.tasks.select.operators.ledger import Ledger, TriedIdea
from overnight.tasks.select.operators.model_choice import ModelChoice, Price
from overnight.tasks.select.operators.operator_choice import (
    SHARES,
    Gains,
    OperatorChoice,
    band_of,
    partner_of,
    stagnation_operator,
)

_PARTNERS = 20
"""Best programs of the run among which the partner of a base is."""


class Composer:
    """Completes plans."""

    def __init__(self, problem: Problem, start: Program, seed: int) -> None:
        settings = problem.settings
        self._search, self._seed = settings.search, seed
        self._models = {model.name: model for model in settings.sampling.models}
        self._chooses_models = self._search.chooses_models and len(self._models) > 1
        self._gains = Gains(start.score, settings.noise)
        self._operators = OperatorChoice()
        self._model_choice = ModelChoice({model.name: model.weight for model in settings.sampling.models})
        self._ledger = Ledger(self._search.ledger)
        self._repairs = Repairs(self._search.repairs)
        self._targets = TuningTargets(settings.tuner.share)
        self._best = [start] if start.is_scored else []
        self._programs = {one.id: one for one in self._best}
        self._origins: dict[str, str] = {}
        self._feedback: dict[str, Feedback] = {}
        self._answers = self._best_at = 0

    def add(self, programs: Mapping[str, Program]) -> None:
        """Add programs that the search began with."""
        for program in programs.values():
            self._note(program)

    def gain_of(self, answer: Feedback) -> float | None:
        """Return what an answer gained on its base; `None` where nothing is chosen by gains."""
        base = self._programs.get(answer.parent_id)
        is_compared = bool(self._search.chosen_operators) or self._chooses_models
        if base is None or not is_compared or answer.outcome is Outcome.SANDBOX_ERROR:
            return None
        return self._gains.gain(answer.score, base.score)

    def tell(self, record: PromptRecord) -> None:
        answers = [one for one in record.answers if one.outcome is not Outcome.SANDBOX_ERROR]
        if record.operator == Operator.TUNE:
            self._tell_tuned(record, answers)
            return
        gains = [self.gain_of(one) or 0.0 for one in answers]
        self._tell_choices(record, answers, gains)
        for answer, gain in zip(answers, gains, strict=True):
            self._ledger.add(self._tried(answer, gain))
        self._repairs.tell(record)
        self._answers += len(answers)
        self._targets.tell(sum(one.outcome is not Outcome.DUPLICATE and bool(one.body) for one in answers))
        self._learn_scores(answers)

    def _tried(self, answer: Feedback, gain: float) -> TriedIdea:
        """Return what the ledger keeps of an answer, before the best program is told of it."""
        error = answer.error if answer.body and answer.outcome is not Outcome.DUPLICATE else ""
        base = self._programs.get(answer.parent_id)
        change = answer.score - base.score if answer.score is not None and base else None
        raised = max(0.0, answer.score - self._best[0].score) if answer.score is not None and self._best else 0.0
        return TriedIdea(answer.idea, answer.parent_id, gain, error, change, raised)

    def _tell_choices(self, record: PromptRecord, answers: list[Feedback], gains: list[float]) -> None:
        self._model_choice.tell(record.model, gains, Price(record.tokens, record.cost_usd))
        if not record.operator:
            return
        for answer, gain in zip(answers, gains, strict=True):
            base = self._programs.get(answer.parent_id)
            if base is not None:
                band = band_of(self._gains.rank(base.score))
                self._operators.tell(Operator(record.operator), band, has_gained=gain > 0.0)

    def _tell_tuned(self, record: PromptRecord, answers: list[Feedback]) -> None:
        for answer in answers:
            if (base := self._programs.get(answer.parent_id)) is not None:
                self._targets.tell_tuned(base, _program(answer), record.evaluations)
        self._learn_scores(answers)

    def _learn_scores(self, answers: list[Feedback]) -> None:
        before = self._best[0].score if self._best else NO_SCORE
        for answer in answers:
            if (program := _program(answer)) is not None:
                self._origins[program.id] = answer.parent_id
                self._note(program)
        if self._best and self._best[0].score > before:
            self._best_at = self._answers
            self._model_choice.note_best()
        self._feedback |= latest_feedback(answers, self._score_of)

    def _note(self, program: Program) -> None:
        self._programs[program.id] = program
        self._gains.note(program.score)
        self._targets.note(program)
        if len(self._best) < _PARTNERS or program.score > self._best[-1].score:
            others = [one for one in self._best if one.id != program.id]
            self._best = sorted([*others, program], key=lambda one: one.score, reverse=True)[:_PARTNERS]

    def _score_of(self, program_id: str) -> float | None:
        program = self._programs.get(program_id)
        return program.score if program else None

    def compose(
        self,
        plan: Plan,
        turn: Turn,
        place: int,
        followed: PromptRecord | None,
        hint: Intervention | None = None,
        beside: Sequence[Plan] = (),
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
        """
        rng = Random(f"{self._seed}/{turn.generation}/{turn.index}/compose")
        stagnation = self._stagnation(place)
        model = self._model(rng, is_stagnating=stagnation is not None)
        plan = replace(plan, model=model)
        if self._is_completion_model(model):  # it is told nothing, but may get another program to build on
            return replace(plan, operator=Operator.HINT) if hint and hint.program_id else plan
        plan = replace(plan, feedback=self._feedback.get(plan.base.id) if self._search.feedback_chars else None)
        if hint:
            tried = self._ledger.text(self._near(plan.base)) if self._search.chosen_operators else ""
            return replace(plan, operator=Operator.HINT, tactic=hint.text, tried=tried)
        if not self._search.chosen_operators:
            return plan
        if not plan.base.is_scored:  # there is nothing to build on yet
            return replace(plan, tried=self._ledger.text({plan.base.id}))
        if followed and (failed := self._failed(followed, rng)):
            return self._repair(plan, followed, *failed)
        plan = self._with_operator(plan, rng, stagnation, beside)
        answers = followed.answers if followed else ()
        repeated = [one.idea for one in answers if one.outcome is Outcome.DUPLICATE and one.idea]
        return replace(plan, tried=self._ledger.text(self._near(plan.base), repeated=repeated))

    def pinned(self, plan: Plan, program_id: str, algorithm: Algorithm) -> Plan | None:
        """Return a plan with another base, in its niche; `None` if the search has not been told of that program."""
        base = self._programs.get(program_id)
        if base is None:
            return None
        others = [one for one in plan.shown if one.score <= base.score and one.scores != base.scores]
        niche = _home_of(base, algorithm) or plan.niche
        return replace(plan, niche=niche, shown=(*others[: len(plan.shown) - 1], base))

    def _near(self, base: Program) -> set[str]:
        return {base.id, self._origins.get(base.id, base.id)}

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
        models = [self._models[model]] if model else self._models.values()
        return any(one.style == "completion" for one in models)

    def _failed(self, record: PromptRecord, rng: Random) -> tuple[Feedback, Program] | None:
        """Return the child to repair among the answers to a prompt, and its base."""
        if Operator.REPAIR not in self._search.chosen_operators:
            return None
        base = self._programs.get(record.answers[-1].parent_id) if record.answers else None
        if base is None:
            return None
        failed = self._repairs.wanted(record, self._gains.rank(base.score), rng)
        return (failed, base) if failed else None

    def _repair(self, plan: Plan, record: PromptRecord, failed: Feedback, base: Program) -> Plan:
        errors = self._ledger.text({base.id}, lists_ideas=False)
        plan = replace(plan, niche=record.niche, shown=(base,), feedback=None, tried=errors)
        return replace(plan, operator=Operator.REPAIR, failed=failed)

    def _with_operator(
        self, plan: Plan, rng: Random, stagnation: tuple[Operator, str] | None, beside: Sequence[Plan]
    ) -> Plan:
        partner = partner_of(plan.base, self._best)
        enabled = [one for one in SHARES if one in self._search.chosen_operators]
        if partner is None and Operator.CROSS in enabled:
            enabled.remove(Operator.CROSS)
        if stagnation:
            operator, tactic = stagnation
            return replace(plan, operator=operator, tactic=tactic)
        if not enabled:
            return plan

        def shown_for(operator: Operator) -> tuple[Program, ...]:
            return (partner, plan.base) if operator is Operator.CROSS and partner else plan.shown

        asked = [(one.operator, one.shown) for one in beside if one.model == plan.model]
        band = band_of(self._gains.rank(plan.base.score))
        operator = self._operators.choose(enabled, band, rng)
        others = [one for one in enabled if (one, shown_for(one)) not in asked]
        if others and operator not in others:
            operator = self._operators.choose(others, band, rng)
        shown = shown_for(operator)
        # What is shown in full, and may be to be combined, is not told as what did not do better.
        is_shown = plan.feedback is not None and any(one.body == plan.feedback.body for one in shown)
        return replace(plan, operator=operator, shown=shown, feedback=None if is_shown else plan.feedback)


def _home_of(program: Program, algorithm: Algorithm) -> str:
    """Return the first niche that a program lives in; empty if it lives in none."""
    niches = algorithm.niches.items()
    return next((name for name, niche in niches if any(one.id == program.id for one in niche.programs)), "")


def _program(answer: Feedback) -> Program | None:
    """Return the program of a scored answer."""
    return None if answer.score is None else program_of(answer)
