"""Read a request as a simulated model: the problem, its programs, their scores, errors and the wish."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from tests.bench.simulated.cues import CONFLICT, NAME, SCORE, Cue
from tests.bench.simulated.designs import block_of, read_design
from tests.bench.simulated.landscape import Design
from tests.bench.simulated.problems import SimulatedProblem, problem_named

_FENCE = re.compile(r"^[ \t]*(`{3,})[^\n`]*\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_LEAD = 200
"""Characters before a program that may say what it is."""


@dataclass(frozen=True)
class Shown:
    """A program in a request.

    Attributes:
        text: Its text as it stands there: a file, or what stands between its marks.
        score: Its score as it is told; `None` if it is not.
    """

    text: str
    design: Design
    score: float | None = None

    @property
    def block(self) -> str:
        """The text between its marks."""
        return block_of(self.text)


@dataclass(frozen=True)
class Reading:
    """A request as it was understood.

    Attributes:
        problem: Problem that the programs solve.
        base: Program to improve; `None` if none parses.
        beside: Other programs, in order.
        cues: What is asked for and announced.
        conflicts: Pairs of stages and names of fragments that do not work together, from errors.
        tried: Ideas that were tried.
    """

    problem: SimulatedProblem
    base: Shown | None
    beside: tuple[Shown, ...]
    cues: frozenset[Cue]
    conflicts: frozenset[tuple[int, str, int, str]]
    tried: frozenset[str]


@lru_cache(maxsize=64)
def read_request(text: str) -> Reading:
    """Understand a request.

    Args:
        text: The contents of all messages, or the prompt.

    Raises:
        ValueError: If it names no simulated problem.
    """
    name = NAME.search(text)
    if name is None:
        raise ValueError("the request names no simulated problem")
    problem = problem_named(name[1], int(name[2]))
    programs, words = _programs(text, problem)
    shown = [program for cue, program in programs if cue is not Cue.FAILED]
    current = [program for cue, program in programs if cue is Cue.CURRENT]
    base = (current or shown or [None])[-1]
    return Reading(
        problem,
        base,
        tuple(program for program in shown if program is not base),
        frozenset(cue for cue in Cue if cue.is_in(words)),
        frozenset((int(a) - 1, one, int(b) - 1, other) for a, one, b, other in CONFLICT.findall(words)),
        frozenset(_tried(words)),
    )


def _programs(text: str, problem: SimulatedProblem) -> tuple[list[tuple[Cue | None, Shown]], str]:
    """Return the programs of a text with what they are announced as, and the text without them."""
    programs: list[tuple[Cue | None, Shown]] = []
    words, end, first_score = "", 0, None
    for match in _FENCE.finditer(text):
        lead, end = text[end : match.start()], match.end()
        words += lead
        told = [] if _scored_above(programs, lead) else SCORE.findall(lead)
        first_score = float(told[0].rstrip(".")) if told and first_score is None else first_score
        if (design := read_design(match[2], problem.landscape)) is None:
            words += match[2]
            continue
        cue = next((cue for cue in (Cue.FAILED, Cue.CURRENT) if cue.is_in(lead[-_LEAD:])), None)
        score = float(told[-1].rstrip(".")) if told else first_score if cue is Cue.CURRENT else None
        programs.append((cue, Shown(match[2], design, score)))
    words += text[end:]
    _scored_above(programs, text[end:])
    if not programs and (design := read_design(text, problem.landscape)) is not None:
        programs.append((None, Shown(text, design)))
    return programs, words


def _scored_above(programs: list[tuple[Cue | None, Shown]], words: str) -> bool:
    """Give the last program the score that the words after it tell; return whether they tell one."""
    told = SCORE.findall(words)
    if not programs or not told or not Cue.SCORED_ABOVE.is_in(words):
        return False
    cue, shown = programs[-1]
    programs[-1] = cue, replace(shown, score=float(told[0].rstrip(".")))
    return True


def _tried(words: str) -> list[str]:
    """Return the list items below each line that announces tried ideas."""
    ideas, listing = [], False
    for line in words.split("\n"):
        item = re.match(r"\s*[-*] +(.+)", line)
        if item and listing:
            ideas.append(item[1].strip().lower())
        elif line.strip():
            listing = Cue.TRIED.is_in(line)
    return ideas
