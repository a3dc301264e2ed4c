"""Settings of the search: its algorithm, size, prompts and retries."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from overnight.schemas.algorithm_settings import AnyAlgorithm, GreedySettings
from overnight.schemas.operators import CHOOSABLE, Operator
from overnight.schemas.section import Section, as_list


def _choosable(operators: tuple[Operator, ...]) -> tuple[Operator, ...]:
    if Operator.TUNE in operators:
        raise ValueError("`tune` is not asked of a model; tuner.enabled turns it on or off")
    if Operator.HINT in operators:
        raise ValueError("`hint` is what people ask for, with `overnight hint RUN TEXT`")
    if Operator.PRUNE in operators:
        raise ValueError("`prune` is not asked of a model; search.prune says how many evaluations it has")
    return operators


class Search(Section):
    """The genetic search, `[tool.overnight.search]`."""

    algorithm: AnyAlgorithm = GreedySettings()
    prompts: int = Field(default=12, ge=1, le=10_000)
    """number of prompts in a generation"""
    samples: int = Field(default=4, ge=1, le=256)
    """number of samples (completions) requested for each prompt; 1, unless you set it, where a folder (`relay:`), a
    command or an agent is among the models"""
    seconds: float = Field(default=60.0, ge=0)
    """seconds after which a generation ends with the prompts that were asked by then, so that what is found is seen;
    the first ones of a night end sooner; 0 lets their number alone decide, as always with the Batch API"""
    feedback: int = Field(default=3_000, ge=0)
    """maximum length of the feedback in a prompt, characters: code, scores, error and output of the last child of
    its best program that failed or did not score higher; for chat models only, never with `funsearch`"""
    facts: bool = True
    """whether chat models are told the facts: a system message with the task, what is scored, the best known score,
    limits and packages, and the scores of the programs shown; never with `funsearch`"""
    operators: Annotated[tuple[Operator, ...], BeforeValidator(as_list), AfterValidator(_choosable)] = CHOOSABLE
    """what prompts of chat models may ask for, chosen by what it gained so far; `repair` is for failed answers,
    `tactic` for where the search stagnates; `[]` leaves it to the model; never with `funsearch`"""
    notes: int = Field(default=1_500, ge=0)
    """maximum length of what a prompt tells of the scoring's notes on its best program, characters, those on the
    worst inputs first; the same again of a failed or worse child; 0 tells none, and no metrics either; for chat
    models only, never with `funsearch`"""
    repairs: float = Field(default=0.2, ge=0, le=1)
    """largest share of the prompts that ask for the repair of a failed answer"""
    ledger: int = Field(default=3_000, ge=0)
    """maximum length of the list of errors and tried ideas in a prompt, characters; 0 lists none"""
    bandit: bool = True
    """whether models are chosen by what they gained for their price; their weights are where it begins; never with
    `funsearch`"""
    novelty: Literal["layout", "meaning"] = "meaning"
    """when two programs are the same, so that the second is not evaluated: with `meaning`, if they differ only in
    layout, names of local variables, docstrings or the form of numbers (in Python); with `layout`, for problems that
    score how a program is written, only in layout; always `layout` with `funsearch`"""
    prune: int | None = Field(default=None, ge=0, le=100_000)
    """limit on the evaluations by which a night's best program is simplified at its end: statements, branches,
    operands and digits are left out that no score needs on the training and validation inputs; in Python only;
    0 leaves it as it is. Default: 300, and 0 where a model answers questions of the scoring, or `noise` is allowed"""
    retries: int = Field(default=3, ge=0)
    """number of further attempts at a generation before it is given up, and the night goes on; the waits between
    them grow to 5 minutes"""
    failures: int = Field(default=3, ge=1)
    """number of consecutive generations that fail in all their attempts, after which the night ends"""

    @property
    def tells_facts(self) -> bool:
        """Whether chat models are told the facts with this algorithm."""
        return self.facts and self.algorithm.shows_feedback

    @property
    def chosen_operators(self) -> tuple[Operator, ...]:
        """Operators that prompts may have with this algorithm."""
        return self.operators if self.tells_facts else ()

    @property
    def chooses_models(self) -> bool:
        """Whether models are chosen by what they gained."""
        return self.bandit and self.algorithm.shows_feedback

    @property
    def compares_meaning(self) -> bool:
        """Whether programs are the same that differ only in form, with this algorithm."""
        return self.novelty == "meaning" and not self.algorithm.evaluates_duplicates

    @property
    def notes_chars(self) -> int:
        """Maximum length of the notes on a program with this algorithm, characters."""
        return self.notes if self.algorithm.shows_feedback else 0

    @property
    def feedback_chars(self) -> int:
        """Maximum length of the feedback with this algorithm, characters."""
        return self.feedback if self.algorithm.shows_feedback else 0
