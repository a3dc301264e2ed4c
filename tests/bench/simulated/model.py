"""A simulated model: from the text of a request alone to the answer that a persona would give."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from overnight.tasks.program.marked_file import END, START
from tests.bench.simulated.cues import Cue
from tests.bench.simulated.designs import changed_pieces, with_design, write_block
from tests.bench.simulated.edits import edited, random_design, with_copies
from tests.bench.simulated.landscape import Design
from tests.bench.simulated.personas import Persona
from tests.bench.simulated.reading import Reading, Shown, read_request

_LIKELIEST = 3
"""Edits among which a collapsed answer is drawn."""

_USUAL_TEMPERATURE = 0.7

_MISTAKE = "    v = prepared(v)\n"
"""A line with a name that is not there; a valid answer to a program that has it leaves it out."""

_CHARS_PER_TOKEN = 4


@dataclass(frozen=True)
class Reply:
    """An answer.

    Attributes:
        tokens: Tokens of it, those of its reasoning included.
        finish_reason: `stop`, or `length` where it was cut.
        is_valid: Whether it was meant to run: what the persona intended, for tests.
    """

    text: str
    tokens: int
    finish_reason: str = "stop"
    is_valid: bool = True


@dataclass(frozen=True)
class SimulatedModel:
    """Answers requests as a persona.

    Attributes:
        seed: Seed of its answers, beside the persona's.
    """

    persona: Persona
    seed: int = 0

    def answer(self, request: Mapping[str, Any], number: int) -> Reply:
        """Answer a request in OpenAI's form; the same answer for the same request and number.

        Args:
            request: `messages` or `prompt`, and possibly `temperature` and `max_tokens`.
            number: Number of the request, or of the sample where one request asks for several.

        Raises:
            ValueError: If the request names no simulated problem.
        """
        text = text_of(request)
        rng = Random(f"{self.persona.seed}/{self.seed}/{number}/{text}")
        temperature = request.get("temperature")
        reply = self._reply(read_request(text), _USUAL_TEMPERATURE if temperature is None else float(temperature), rng)
        reasoning = self.persona.reasoning_tokens
        return _cut(reply, round(reasoning * math.exp(rng.gauss(0.0, 0.6))), request.get("max_tokens"))

    def _reply(self, reading: Reading, temperature: float, rng: Random) -> Reply:
        persona, is_fresh = self.persona, Cue.FRESH in reading.cues or reading.base is None
        design, idea = self._design(reading, temperature, rng)
        if rng.random() >= _valid_share(persona, reading, is_fresh=is_fresh):
            return _invalid(persona, reading, design, idea, rng)
        base = None if is_fresh else reading.base
        as_edits = Cue.MUST_EDIT in reading.cues or (Cue.MAY_EDIT in reading.cues and rng.random() < persona.edits)
        if base is not None and _MISTAKE in base.block:
            return _reply_with(_fenced(_block(reading, base, design).replace(_MISTAKE, ""), reading), idea, reading)
        if base is not None and as_edits and (pieces := _pieces(base, design, reading)):
            is_valid = rng.random() >= persona.bad_edits
            return _reply_with(_edits(pieces, is_valid=is_valid), idea, reading, is_valid=is_valid)
        return _reply_with(_fenced(_block(reading, base, design), reading), idea, reading)

    def _design(self, reading: Reading, temperature: float, rng: Random) -> tuple[Design, str]:
        """Return what the answer does and why; ideas that were tried are often thought of anew."""
        if reading.base is None or Cue.FRESH in reading.cues:
            return random_design(reading.problem.landscape, rng), "another start"
        base, design, idea = reading.base, reading.base.design, ""
        for _ in range(3):
            design, idea = edited(base, reading, self.persona, self._collapsed(base, reading, temperature, rng))
            if idea not in reading.tried or rng.random() >= self.persona.avoids:
                break
        return with_copies(design, base, reading, self.persona, rng), idea

    def _collapsed(self, base: Shown, reading: Reading, temperature: float, rng: Random) -> Random:
        """Return the source of an edit: now and then one of the few that this persona thinks of first."""
        share = min(0.9, self.persona.collapses * 2.0 ** (_USUAL_TEMPERATURE - temperature))
        if rng.random() >= share:
            return rng
        asked = Cue.ANOTHER in reading.cues
        return Random(f"{self.persona.seed}/{base.design}/{asked}/{rng.randrange(_LIKELIEST)}")


def text_of(request: Mapping[str, Any]) -> str:
    """Return all that a request says to the model."""
    if "messages" in request:
        return "\n\n".join(str(message["content"]) for message in request["messages"])
    return str(request.get("prompt", ""))


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """Return the number of tokens that a request has, about."""
    return len(text_of(request)) // _CHARS_PER_TOKEN


def _valid_share(persona: Persona, reading: Reading, *, is_fresh: bool) -> float:
    """Return the probability of an answer that runs: lower for a fresh program, higher where an error is shown."""
    share = persona.valid * (0.6 if is_fresh else 1.0)
    return share + 0.3 * (1.0 - share) if Cue.ERROR in reading.cues or reading.conflicts else share


def _block(reading: Reading, base: Shown | None, design: Design) -> str:
    if base is None:
        return write_block(reading.problem.landscape, design)
    return with_design(base.block, base.design, design, reading.problem.landscape)


def _pieces(base: Shown, design: Design, reading: Reading) -> list[tuple[str, str]]:
    return changed_pieces(base.block, base.design, design, reading.problem.landscape)


def _fenced(block: str, reading: Reading) -> str:
    """Return the code of an answer: the block where that is asked for, else the whole file."""
    if Cue.BLOCK in reading.cues:
        return f"```python\n{block.rstrip()}\n```"
    source = reading.problem.source(reading.problem.start)
    head, tail = source.split(START, 1)[0], source.split(END, 1)[1]
    return f"```python\n{head}{START}\n{block.rstrip()}\n\n\n# {END}{tail.rstrip()}\n```"


def _edits(pieces: list[tuple[str, str]], *, is_valid: bool) -> str:
    """Return search/replace edits; of invalid ones the first has a line that the program lacks."""
    old = [
        before if is_valid or k else before.replace("(v)", "(values)").replace(" = ", " == ")
        for k, (before, _) in enumerate(pieces)
    ]
    return "\n\n".join(
        f"<<<<<<< SEARCH\n{before}\n=======\n{after}\n>>>>>>> REPLACE"
        for before, (_, after) in zip(old, pieces, strict=True)
    )


def _reply_with(code: str, idea: str, reading: Reading, *, is_valid: bool = True) -> Reply:
    if Cue.TAGS in reading.cues:
        tag = "DIFF" if "<<<<<<<" in code else "CODE"
        text = f"<NAME>\nedit\n</NAME>\n\n<DESCRIPTION>\n{idea}\n</DESCRIPTION>\n\n<{tag}>\n{code}\n</{tag}>\n"
        return Reply(text, len(text) // _CHARS_PER_TOKEN, is_valid=is_valid)
    head = f"# idea: {idea}" if Cue.IDEA in reading.cues else f"I try this: {idea}."
    text = f"{head}\n\n{code}\n"
    return Reply(text, len(text) // _CHARS_PER_TOKEN, is_valid=is_valid)


def _invalid(persona: Persona, reading: Reading, design: Design, idea: str, rng: Random) -> Reply:
    """Return an answer that does not run: without code, with wrong syntax, or with a name that is not there."""
    if rng.random() < persona.without_code:
        text = "The program looks good already; I would try another order of its stages."
        return Reply(text, len(text) // _CHARS_PER_TOKEN, is_valid=False)
    base = None if Cue.FRESH in reading.cues else reading.base
    block, stage = _block(reading, base, design), rng.randrange(len(design.choices)) + 1
    line = "    return (v\n" if rng.random() < persona.wrong_syntax else _MISTAKE
    broken = block.replace(f"def stage_{stage:02}(v):\n", f"def stage_{stage:02}(v):\n{line}", 1)
    return _reply_with(_fenced(broken, reading), idea, reading, is_valid=False)


def _cut(reply: Reply, reasoning: int, max_tokens: int | None) -> Reply:
    """Return an answer after its reasoning, cut at the limit of the request."""
    room = math.inf if max_tokens is None else max_tokens - reasoning
    if reply.tokens <= room:
        return Reply(reply.text, reply.tokens + reasoning, "stop", reply.is_valid)
    return Reply(reply.text[: max(0, int(room)) * _CHARS_PER_TOKEN], int(max_tokens or 0), "length", is_valid=False)
