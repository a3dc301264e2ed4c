"""The model that a scoring asks: where it may be asked at all, and what asks it before and outside of a night."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from overnight.schemas.errors import SpecificationError, UsageError
from overnight.schemas.generation import GenerationRecord
from overnight.schemas.problem import Problem
from overnight.schemas.program import Completion
from overnight.schemas.question import Ask
from overnight.schemas.sampling_settings import Model
from overnight.schemas.section import as_list
from overnight.tasks.program.user_config import user_settings
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


def judge_entry(name: str, models: Sequence[Any], api_base: str | None) -> dict[str, Any]:
    """Return the entry of the model that a scoring asks: that of its name elsewhere, with its address and prices.

    Args:
        name: Name of the model.
        models: Entries of the command's models; those of the configuration file follow, its judge's first.
        api_base: Address of the command's models.

    Raises:
        UsageError: If there is an address, which the model does not have: it would be asked elsewhere, unseen.
    """
    own = user_settings().get("sampling", {})
    for entry in (*models, own.get("judge"), *as_list(own.get("models", ()))):
        if isinstance(entry, dict) and entry.get("name") == name:
            return {field: value for field, value in entry.items() if field not in ("weight", "style")}
    if api_base:
        alone = f'{{name="{name}"}}'
        raise UsageError(
            f"--api-base is the address of the models that --model names, and the judge {name} is none of them",
            remedy=f"Say where it is asked, at its provider's own address: --set 'sampling.judge={alone}' in place of "
            f'--judge, or with api_base="{api_base}" beside its name.',
        )
    return {"name": name}


def with_judge(problem: Problem, entry: Mapping[str, Any] | None) -> Problem:
    """Return the problem of a run with the judge that a command names, or without any: the run's own is not asked."""
    settings = problem.settings
    sampling = settings.sampling.model_copy(update={"judge": Model.model_validate(entry) if entry else None})
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
