"""The operators: what a prompt asks a model to do with the programs that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


@dataclass(frozen=True, slots=True)
class OperatorFacts:
    """Facts about an operator, for all parts of the program.

    Attributes:
        name: Its name in files.
        meaning: Change that it asks for, for the documentation.
        request: Request to a model beside a better program; empty where the plan says it.
        share: Share of the prompts that get it before there are results, of those that are chosen by what they gained;
            0 if others decide when it is asked.
    """

    name: str
    meaning: str
    request: str = ""
    share: float = 0.0


class Operator(StrEnum):
    """The kind of change that a prompt asks for; a closed list.

    Attributes:
        facts: Facts of the operator itself.
    """

    facts: OperatorFacts
    _value_: str

    def __new__(cls, facts: OperatorFacts) -> Self:
        """Create a member that is its name, and has facts."""
        member = str.__new__(cls, facts.name)
        member._value_ = facts.name
        member.facts = facts
        return member

    # fmt: off
    IMPROVE = OperatorFacts("improve",
        "anything that may score more; of a program that no answer wrote, such as the start program, nothing else "
        "while no better one is shown beside it",
        "Do what you expect to score most: change what is there, or put another method in its place, such as one that "
        "is known for problems of this kind.", share=0.35)
    REFINE = OperatorFacts("refine", "one targeted change",
        "Make one targeted change that should raise the score, and keep the rest as it is.", share=0.25)
    REWRITE = OperatorFacts("rewrite", "the same idea, built better",
        "Keep its main idea, but build it better: rewrite the parts that hold the score back.", share=0.15)
    CROSS = OperatorFacts("cross",
        "the best parts of two programs: the base, and the program that beats it on most inputs",
        "Combine the best parts of the versions above in one program.", share=0.15)
    FRESH = OperatorFacts("fresh", "another algorithm",
        "Do not build on what is shown: write a different algorithm, of your own or one known for such problems.",
        share=0.05)
    SIMPLIFY = OperatorFacts("simplify", "the same with less",
        "Make it simpler: remove what does not help, so that the score stays or rises.", share=0.05)
    REPAIR = OperatorFacts("repair",
        "a failed answer, mended: at most a share of the prompts (`search.repairs`), of the best quarter of the bases, "
        "twice in a row at most",
        "It failed. Mend it with as little change as needed, and keep its idea.")
    TACTIC = OperatorFacts("tactic",
        "a general line of thought, after 50 answers (or a tenth of all) without a new best: four prompts, then two "
        "`fresh` ones")
    HINT = OperatorFacts("hint",
        "what a person suggests ([`overnight hint`](../../flows/README.md#a-word-while-it-runs)): every second prompt "
        "while one is in force; never chosen",
        "A person chose the last version to build on: keep what it does, and improve it.")
    TUNE = OperatorFacts("tune", "other numbers, found by an optimizer: no model is asked; never chosen")
    PRUNE = OperatorFacts("prune",
        "a night's best program without what changes no score, found by evaluations at its end: no model is asked; "
        "never chosen")
    # fmt: on


CHOOSABLE = tuple(one for one in Operator if one not in (Operator.HINT, Operator.TUNE, Operator.PRUNE))
"""Operators that the search may choose by itself."""

SIZES_OF_CHANGE = (None, Operator.IMPROVE, Operator.REFINE, Operator.REWRITE, Operator.CROSS)
"""Operators that say how much one answer may change, which an agent decides by itself; none says nothing of it."""

PROMPTS_PER_HINT = 2
"""While a hint or a pin is in force, one of so many prompts asks for it."""
