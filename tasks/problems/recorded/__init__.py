"""Recorded nights: exported runs of models on the built-in problems, for `overnight import NAME`.

Files are named by their problem: `NAME.tar.zst` is what `overnight export` wrote; `NAME.txt`, where it is there, says
in a sentence what the record cannot, such as that a construction was recalled. `index.json` has what tables show of the
archives; `make docs` writes it from them.
"""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from overnight.schemas.errors import UsageError

FOLDER = Path(__file__).parent
INDEX = FOLDER / "index.json"
_ENDING = ".tar.zst"


class RecordedNight(BaseModel):
    """Facts of a recorded night for tables; scores are those of the program that `overnight best` names.

    Attributes:
        models: Models that answered, as the record names them.
        answers: Number of answers.
        tokens: Tokens of prompts and answers; `None` if the record has none.
        seconds: Processor time of all evaluations.
        start: Score of the start program on the training inputs.
        found: Score of the best program on the training inputs.
        start_held_out: Score of the start program on the held-out inputs; `None` if there are none.
        found_held_out: The same of the best program.
        found_after: Number of answers until there was the best program.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    models: tuple[str, ...]
    answers: int
    tokens: int | None
    seconds: float
    start: float
    found: float
    start_held_out: float | None
    found_held_out: float | None
    found_after: int

    @property
    def by(self) -> str:
        return ", ".join(self.models)


def names() -> list[str]:
    """Names of the problems that have a recorded night, sorted."""
    return sorted(path.name.removesuffix(_ENDING) for path in FOLDER.glob(f"*{_ENDING}"))


def archive(problem: str) -> Path:
    """Return the archive of a built-in problem's recorded night.

    Raises:
        UsageError: If it has none.
    """
    if problem in names():
        return FOLDER / f"{problem}{_ENDING}"
    raise UsageError(
        f"{problem} has no recorded night",
        remedy=f"These have one: {', '.join(names())}. Or run a night of yours: overnight run {problem}",
    )


def note(problem: str) -> str:
    """Return what is to be known of a problem's recorded night beside its record; empty if nothing is."""
    path = FOLDER / f"{problem}.txt"
    return path.read_text(encoding="utf-8").strip() if path.exists() else ""


def nights() -> dict[str, RecordedNight]:
    """Return the facts of all recorded nights, by the name of the problem."""
    return {name: RecordedNight(**facts) for name, facts in json.loads(INDEX.read_text(encoding="utf-8")).items()}
