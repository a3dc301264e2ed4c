"""One search on a simulated problem in this process: no container, no Prefect, no history on disk.

Plans, prompts, parsing and what an algorithm is told are the product's own; the evaluation is the problem's function.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.planning import Planner, turn_of
from schemas.algorithm import PromptResult
from schemas.feedback import Feedback
from schemas.generation import RunRecord
from schemas.operators import Operator
from schemas.outcome import Outcome as Verdict
from schemas.problem import Problem
from schemas.program import Program, Prompt, idea_in
from schemas.prompt_record import PromptRecord
from schemas.settings import Model
from tasks.problems.loading.load import load_problem
from tasks.sample.codecs import codec_of
from tasks.sample.prompts import build_prompts
from tasks.select.operators.composer import Composer
from tasks.select.registry import create_algorithm
from tests.bench.simulated.comparison import Outcome, area
from tests.bench.simulated.model import SimulatedModel
from tests.bench.simulated.problems import SimulatedProblem

_FAULTS = (ArithmeticError, AttributeError, LookupError, NameError, SyntaxError, TypeError, ValueError)
"""The errors that a program of a simulated model may raise."""


class SearchLoop:
    """A search with some algorithm and a model, answer by answer.

    Args:
        problem: The problem.
        model: The model that is asked.
        seed: Seed of the run.
        search: Settings `search.*`.
    """

    def __init__(self, problem: SimulatedProblem, model: SimulatedModel, seed: int, search: Mapping[str, Any]) -> None:
        self._simulated, self._model, self._seed = problem, model, seed
        loaded = load_simulated(problem, search)
        self._problem, self._run = loaded, RunRecord("simulated", loaded, seed, _EPOCH, "", "", {})
        self._start = Program("start", loaded.specification.start_body, (problem.start_score,), problem.start_score)
        self._depths = {self._start.id: 0}
        self._known = {loaded.code_hash(self._start.body)}
        self._gaps: list[float] = []
        self._best = self._start
        self._counts = {"unscored": 0, "duplicates": 0}

    def run(self, answers: int) -> Outcome:
        """Search until so many answers have been judged."""
        settings = self._problem.settings.search
        algorithm = create_algorithm(settings.algorithm, self._start, self._seed)
        composer = Composer(self._problem, self._start, self._seed)
        planner, serial = Planner(self._run, algorithm, lambda _: True, composer), 0
        while len(self._gaps) < answers:
            turn = turn_of(serial, self._run)
            plan = planner.plans.pop(turn)
            (prompt,) = build_prompts({turn.index: plan}, self._problem, seed=self._seed, generation=turn.generation)
            samples = min(prompt.samples, answers - len(self._gaps))
            judged = self._judge(prompt, serial * prompt.samples, samples)
            is_last = turn.index == settings.prompts - 1
            reset = is_last and settings.algorithm.is_reset_due(turn.generation, 0.0)
            result = PromptResult(plan.niche, plan.base.id, samples, _programs(judged))
            record = PromptRecord(plan.niche, prompt.operator, prompt.model, tuple(judged))
            planner.tell(turn, [result], record, reset=reset)
            serial += 1
        shares = {name: count / answers for name, count in self._counts.items()}
        return Outcome(area(self._gaps), self._gaps[-1], self._depths[self._best.id], **shares)

    def _judge(self, prompt: Prompt, number: int, samples: int) -> list[Feedback]:
        """Ask for the samples of a prompt, and return the judged answers."""
        answers = []
        request = {"messages": prompt.messages, "max_tokens": self._problem.settings.sampling.max_tokens}
        for k in range(samples):
            text = self._model.answer(request, number + k).text
            answer = replace(self._answer(text, prompt), program_id=f"{number + k}", idea=idea_in(text))
            answers.append(answer)
            if answer.score is not None:
                child = Program(answer.program_id, answer.body, answer.scores, answer.score)
                self._depths[child.id] = self._depths[answer.parent_id] + 1
                self._best = max(self._best, child, key=lambda program: program.score)
            self._gaps.append(self._simulated.gap(self._best.score))
        return answers

    def _answer(self, text: str, prompt: Prompt) -> Feedback:
        """Parse and evaluate an answer."""
        skeleton, parents = self._problem.specification, prompt.parent_ids
        failed_id = parents[0] if prompt.operator == Operator.REPAIR else ""
        parsed = codec_of(skeleton.kind).parse(text, skeleton, len(parents), prompt.base)
        answer = Feedback(parents[-1], parsed.body, Verdict.SCORED, "", "", (), None, failed_id=failed_id)
        if parsed.verdict is not None:
            self._counts["unscored"] += 1
            return replace(answer, outcome=parsed.verdict.outcome, error=parsed.verdict.error)
        code_hash = self._problem.code_hash(parsed.body)
        if code_hash in self._known:
            self._counts["duplicates"] += 1
            if not self._problem.settings.search.algorithm.evaluates_duplicates:
                return replace(answer, outcome=Verdict.DUPLICATE)
        self._known.add(code_hash)
        try:
            score = self._simulated.evaluate(skeleton.program(parsed.body).main)
        except _FAULTS as error:
            self._counts["unscored"] += 1
            return replace(answer, outcome=Verdict.CRASHED, error=f"{type(error).__name__}: {error}")
        return replace(answer, scores=(score,), score=score)


def _programs(answers: Sequence[Feedback]) -> tuple[Program, ...]:
    return tuple(Program(one.program_id, one.body, one.scores, one.score) for one in answers if one.score is not None)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def load_simulated(problem: SimulatedProblem, search: Mapping[str, Any]) -> Problem:
    """Load the task directory of a problem, with settings `search.*`, for one chat model."""
    models = [Model(name="openai/simulated").model_dump()]
    settings = {"search": dict(search), "tuner": {"enabled": False}, "sampling": {"models": models}}
    with tempfile.TemporaryDirectory() as folder:
        return load_problem(problem.write(Path(folder) / problem.name), settings)
