"""One search on a simulated problem in this process: no container, no Prefect, no history on disk.

Plans, prompts, parsing and what an algorithm is told are the product's own; the evaluation is the problem's function.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flows.planning import Planner, turn_of
from schemas.algorithm import PromptResult
from schemas.feedback import Feedback, latest_feedback
from schemas.generation import RunRecord
from schemas.outcome import Outcome as Verdict
from schemas.problem import Problem
from schemas.program import Program, Prompt
from schemas.settings import Model
from tasks.problems.loading.load import load_problem
from tasks.sample.codecs import codec_of
from tasks.sample.prompts import build_prompts
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
        self._programs = {self._start.id: self._start}
        self._known = {loaded.code_hash(self._start.body)}
        self._gaps: list[float] = []
        self._best = self._start
        self._counts = {"unscored": 0, "duplicates": 0}

    def run(self, answers: int) -> Outcome:
        """Search until so many answers have been judged."""
        settings = self._problem.settings.search
        algorithm = create_algorithm(settings.algorithm, self._start, self._seed)
        planner, serial = Planner(self._run, algorithm, lambda _: True), 0
        while len(self._gaps) < answers:
            turn = turn_of(serial, self._run)
            plan = planner.plans.pop(turn)
            (prompt,) = build_prompts({turn.index: plan}, self._problem, seed=self._seed, generation=turn.generation)
            samples = min(prompt.samples, answers - len(self._gaps))
            children, feedback = self._judge(prompt, serial * prompt.samples, samples)
            is_last = turn.index == settings.prompts - 1
            reset = is_last and settings.algorithm.is_reset_due(turn.generation, 0.0)
            result = PromptResult(plan.niche, plan.base.id, samples, tuple(children))
            planner.tell(turn, [result], self._latest(feedback), reset=reset)
            serial += 1
        shares = {name: count / answers for name, count in self._counts.items()}
        return Outcome(area(self._gaps), self._gaps[-1], self._depths[self._best.id], **shares)

    def _judge(self, prompt: Prompt, number: int, samples: int) -> tuple[list[Program], list[Feedback]]:
        """Ask for the samples of a prompt; return the scored children and feedback on all that ran."""
        children, feedback = [], []
        request = {"messages": prompt.messages, "max_tokens": self._problem.settings.sampling.max_tokens}
        for k in range(samples):
            text = self._model.answer(request, number + k).text
            child, told = self._child(text, prompt, f"{number + k}")
            if told is not None:
                feedback.append(told)
            if child is not None:
                self._programs[child.id], self._depths[child.id] = child, self._depths[prompt.parent_ids[-1]] + 1
                self._best = max(self._best, child, key=lambda program: program.score)
                children.append(child)
            self._gaps.append(self._simulated.gap(self._best.score))
        return children, feedback

    def _child(self, text: str, prompt: Prompt, name: str) -> tuple[Program | None, Feedback | None]:
        """Parse and evaluate an answer."""
        skeleton = self._problem.specification
        parsed = codec_of(skeleton.kind).parse(
            text, skeleton, len(prompt.parent_ids), prompt.base, takes_edits=prompt.takes_edits
        )
        if parsed.verdict is not None:
            self._counts["unscored"] += 1
            return None, None
        code_hash = self._problem.code_hash(parsed.body)
        if code_hash in self._known:
            self._counts["duplicates"] += 1
            if not self._problem.settings.search.algorithm.evaluates_duplicates:
                return None, None
        self._known.add(code_hash)
        parent, body = prompt.parent_ids[-1], parsed.body
        try:
            score = self._simulated.evaluate(skeleton.program(body).main)
        except _FAULTS as error:
            self._counts["unscored"] += 1
            reason = f"{type(error).__name__}: {error}"
            return None, Feedback(parent, body, Verdict.CRASHED, reason, "", (), None)
        return Program(name, body, (score,), score), Feedback(parent, body, Verdict.SCORED, "", "", (score,), score)

    def _latest(self, feedback: Sequence[Feedback]) -> dict[str, Feedback]:
        if not self._problem.settings.search.feedback_chars:
            return {}
        score_of: Callable[[str], float | None] = lambda program: self._programs[program].score  # noqa: E731
        return latest_feedback(feedback, score_of)


_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


def load_simulated(problem: SimulatedProblem, search: Mapping[str, Any]) -> Problem:
    """Load the task directory of a problem, with settings `search.*`, for one chat model."""
    settings = {"search": dict(search), "sampling": {"models": [Model(name="openai/simulated").model_dump()]}}
    with tempfile.TemporaryDirectory() as folder:
        return load_problem(problem.write(Path(folder) / problem.name), settings)
