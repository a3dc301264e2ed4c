"""The model that a scoring asks: where it may be asked at all, and what asks it before and outside of a night."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion
from overnight.schemas.question import Ask
from overnight.schemas.sampling_settings import Model
from overnight.tasks.sample.gateway import Gateway
from overnight.tasks.sample.judge import Judge
from overnight.tasks.sample.provider import require_keys


def require_judge(problem: Problem, *, on_cluster: bool = False) -> None:
    """Check that the scoring of a problem can ask its model, if it asks one.

    Args:
        problem: The problem.
        on_cluster: Whether a cluster evaluates.

    Raises:
        SpecificationError: If scoring and program share a process.
        UsageError: If no model is named, or a cluster evaluates.
    """
    if not problem.asks:
        return
    is_function = bool(problem.specification.run)
    settings = problem.settings
    if not settings.sandbox.split if is_function else settings.command.process == "shared":
        own = "sandbox.split=true" if is_function else "command.process=own"
        raise SpecificationError(
            "the scoring asks a model (funsearch.ask), and shares a process with the program, which could ask it, too",
            remedy=f"Give them processes of their own: --set {own}",
        )
    if settings.sampling.judge is None:
        raise UsageError(
            "the scoring asks a model (funsearch.ask), and none is named",
            remedy="Name the model that it asks: --judge openai/gpt-5-mini",
        )
    if on_cluster:
        raise UsageError(
            "the scoring asks a model (funsearch.ask), which machines of a cluster cannot",
            remedy="Evaluate on this machine alone: --cluster none",
        )


def with_judge(problem: Problem, name: str | None) -> Problem:
    """Return the problem of a run with the judge that a command names, or without any: the run's own is not asked."""
    settings = problem.settings
    sampling = settings.sampling.model_copy(update={"judge": Model(name=name) if name else None})
    return replace(problem, settings=settings.model_copy(update={"sampling": sampling}))


@dataclass
class Asked:
    """The judge of evaluations outside of a night, which keeps its answers only here.

    Attributes:
        ask: Answers questions; `None` for a problem that asks nothing.
        answers: New answers, in order.
    """

    ask: Ask | None = None
    answers: list[Completion] = field(default_factory=list)

    def put_into(self, record: GenerationRecord) -> GenerationRecord:
        """Return the record of a generation with the answers that no other has, and with their price."""
        taken, self.answers[:] = tuple(self.answers), []
        return with_answers(record, taken)


def judge_of(problem: Problem, known: Sequence[Completion] | None = None) -> Asked:
    """Return what answers the questions of a problem's scoring.

    Args:
        problem: The problem.
        known: The only answers that there are, of a run that is repeated; by default, its model is asked.

    Raises:
        UsageError, SpecificationError: As for `require_judge`.
        EnvironmentFault: If the key of its model is missing.
    """
    require_judge(problem)
    if not problem.asks:
        return Asked()
    answers: list[Completion] = []
    sampling = problem.settings.sampling
    if known is not None:
        return Asked(Judge(sampling, None, answers.append, known=known).answer)
    require_keys(sampling)
    return Asked(Judge(sampling, Gateway(sampling), answers.append).answer, answers)


def with_answers(record: GenerationRecord, answers: Sequence[Completion]) -> GenerationRecord:
    """Return the record of a generation with answers that are committed with it; their price counts as its own."""
    return replace(record, questions=tuple(answers))
