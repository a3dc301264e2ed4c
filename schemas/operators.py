"""The operators: what a prompt asks a model to do with the programs that it shows."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

Thoughts = Literal["tactics", "places", "spare"]
"""Lines of thought: for a program that is written anew, for a change of one, and for what may be left out of it."""


@dataclass(frozen=True, slots=True)
class OperatorFacts:
    """Facts about an operator, for all parts of the program.

    Attributes:
        name: Its name in files.
        meaning: Change that it asks for, for the documentation.
        request: Request to a model beside a better program; empty where the plan says it.
        share: Share of the prompts that get it before there are results, of those that are chosen by what they gained;
            0 if others decide when it is asked.
        request_beside_score: Request where no score is better than the base's; by default `request`.
        least_lines: Lines of a program from which on it can be asked for.
        needs_partner: Whether it takes a second program.
        suits_worse_base: Whether it is asked of a program beside which a better one is shown.
        says_size: Whether it says only how much one answer may change, which an agent decides by itself.
        thoughts: Lines of thought that tell apart prompts which ask for it at the same moment.
        aim: What the new version does, in words, where that is not to do better.
        is_choosable: Whether the search may choose it by itself.
    """

    name: str
    meaning: str
    request: str = ""
    share: float = 0.0
    request_beside_score: str = ""
    least_lines: int = 0
    needs_partner: bool = False
    suits_worse_base: bool = False
    says_size: bool = False
    thoughts: Thoughts = "places"
    aim: str = ""
    is_choosable: bool = True


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
        "is known for problems of this kind.",
        share=0.35, request_beside_score="Change whatever helps.", suits_worse_base=True, says_size=True,
        thoughts="tactics")
    REFINE = OperatorFacts("refine", "one targeted change",
        "Make one targeted change that should raise the score, and keep the rest as it is.",
        share=0.25, request_beside_score="Make one targeted change, and keep the rest as it is.", says_size=True)
    REWRITE = OperatorFacts("rewrite", "the same idea, built better",
        "Keep its main idea, but build it better: rewrite the parts that hold the score back.",
        share=0.15, request_beside_score="Keep its main idea, but build it better.", least_lines=3,
        suits_worse_base=True, says_size=True)
    CROSS = OperatorFacts("cross",
        "the best parts of two programs: the base, and the program that beats it on most inputs",
        "Combine the best parts of the versions above in one program.",
        share=0.15, needs_partner=True, suits_worse_base=True, says_size=True)
    FRESH = OperatorFacts("fresh", "another algorithm",
        "Do not build on what is shown: write a different algorithm, of your own or one known for such problems.",
        share=0.05, suits_worse_base=True, thoughts="tactics")
    SIMPLIFY = OperatorFacts("simplify", "the same with less",
        "Make it simpler: remove what does not help, so that the score stays or rises.",
        share=0.05, request_beside_score="Make it simpler: remove what does not help.", least_lines=6, thoughts="spare",
        aim="is simpler, and scores no less")
    REPAIR = OperatorFacts("repair",
        "a failed answer, mended: at most a share of the prompts (`search.repairs`), of the best quarter of the bases, "
        "twice in a row at most",
        "It failed. Mend it with as little change as needed, and keep its idea.", aim="works")
    TACTIC = OperatorFacts("tactic",
        "a general line of thought, after 50 answers (or a tenth of all) without a new best: four prompts, then two "
        "`fresh` ones")
    HINT = OperatorFacts("hint",
        "what a person suggests ([`overnight hint`](../../flows/README.md#a-word-while-it-runs)): every second prompt "
        "while one is in force; never chosen",
        "A person chose the last version to build on: keep what it does, and improve it.", is_choosable=False)
    TUNE = OperatorFacts("tune", "other numbers, found by an optimizer: no model is asked; never chosen",
        is_choosable=False)
    PRUNE = OperatorFacts("prune",
        "a night's best program without what no score needs, found by evaluations at its end: no model is asked; "
        "never chosen", is_choosable=False)
    # fmt: on


CHOOSABLE = tuple(one for one in Operator if one.facts.is_choosable)
"""Operators that the search may choose by itself."""


def says_size(operator: Operator | None) -> bool:
    """Return whether a request says only how much one answer may change; none says nothing of it."""
    return operator is None or operator.facts.says_size


PROMPTS_PER_HINT = 2
"""While a hint or a pin is in force, one of so many prompts asks for it."""
