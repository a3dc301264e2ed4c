"""Words by which a simulated model understands a request: a fixed table, written before anything was tuned on it.

Each cue has wordings of several systems, Overnight's, OpenEvolve's and ShinkaEvolve's among them. Wordings are compared
in lower case, as whole words.
"""

from __future__ import annotations

import re
from enum import Enum


class Cue(Enum):
    """The wordings with which a text asks for something or announces it."""

    CURRENT = ("version so far", "current program", "current best", "program to improve", "parent program")
    """The program below is the one to improve."""

    FAILED = ("did not do better", "last try", "failed attempt", "previous attempt failed", "could not be scored")
    """The program below is a failed child."""

    ERROR = ("crashed", "traceback", "raised an exception", "execution error", "stderr")
    """There is an error of the base or its child."""

    FRESH = (
        *("from scratch", "an entirely new program", "start afresh", "without looking at the programs above"),
        "do not build on what is shown",
    )
    """A program is wanted that does not build on those shown."""

    ANOTHER = (
        *("a different algorithm", "another approach", "a fundamentally different", "a different approach"),
        "a completely different algorithm",
    )
    """The base is to be left for another algorithm."""

    CROSS = ("combine", "merge the", "crossover", "cross-over", "best parts of")
    """Parts of several programs are to be put together."""

    IMPROVE = ("that does better", "improve its", "improve the program", "suggest improvements", "that will improve")
    """The ordinary instruction, which changes nothing."""

    MUST_EDIT = (
        *("must use the exact search/replace", "answer with edits only", "only as search/replace blocks"),
        "the exact search/replace diff format",
    )
    """Only search/replace edits are allowed."""

    MAY_EDIT = ("you may answer with edits", "you may write edits", "or with search/replace blocks")
    """Edits are allowed beside whole programs."""

    BLOCK = ("everything that stands between the two marks", "only the marked block", "only the evolve block")
    """The block is wanted, without the rest of the file."""

    IDEA = ("# idea:", "one line on what you change", "name your idea in one line")
    """A line with the idea is wanted before the code."""

    TAGS = ("name, description and", "summary name, description", "<name>", "<description>")
    """The answer is wanted between tags: a name, a description, and the code or the edits."""

    SCORED_ABOVE = ("performance metrics", "the program above scored", "it scored as follows")
    """The scores that follow are those of the program above."""

    TRIED = ("tried already", "already tried", "tried before", "do not repeat")
    """The ideas in the lines below were tried."""

    def is_in(self, text: str) -> bool:
        """Return whether a text has a wording of it."""
        return _pattern(self).search(text) is not None


_PATTERNS: dict[Cue, re.Pattern[str]] = {}


def _pattern(cue: Cue) -> re.Pattern[str]:
    if cue not in _PATTERNS:
        wordings = "|".join(re.escape(wording) for wording in cue.value)
        _PATTERNS[cue] = re.compile(rf"(?<!\w)(?:{wordings})(?!\w)", re.IGNORECASE)
    return _PATTERNS[cue]


SCORE = re.compile(
    r"\b(?:scores?|scored|fitness|combined_score)\b[^\d\n+-]{0,20}([-+]?\d[\d.]*(?:e[-+]?\d+)?)", re.IGNORECASE
)
"""A score that a text tells."""

CONFLICT = re.compile(r"stage_(\d\d) \((\w+)\) and stage_(\d\d) \((\w+)\) do not work together")
"""An error that says which two fragments do not fit."""

NAME = re.compile(r"Simulated problem (\S+) of seed (\d+)")
"""The problem that a program solves."""
