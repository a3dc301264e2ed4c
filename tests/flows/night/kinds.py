"""Kinds of nights on variants of the toy problem whose runs come out the same after a resume, and by a replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from overnight.testing.fake_provider import Answer, Request
from tests.flows.conftest import JUDGED
from tests.flows.nights import by_prompt
from tests.toys import SCORE


@dataclass(frozen=True)
class Kind:
    """Two nights of one run.

    Attributes:
        generations: Generations of each night.
        score: End of the scoring.
        script: Model; without one, the built-in model of the settings.
    """

    generations: tuple[int, int]
    settings: dict[str, Any]
    score: str = SCORE
    script: Callable[[int, Request], Answer] | None = None


CONFIRMED: dict[str, Any] = {"sandbox": {"slots": 2, "confirm": "best"}}
"""Settings of a night in which each best is confirmed."""

SPOKEN: dict[str, Any] = {"sampling": {"models": [{"name": "builtin/mutate", "style": "chat"}]}}

NOTED = """value = guess(offset)
    return {"score": -abs(value - 10.0 - offset), "value": value, "notes": f"guessed {value} of {100 + offset}"}"""

TWO = 'return {"score": -abs(guess(offset) - 10.0 - offset), "size": abs(guess(offset))}'
"""The nearer to 10, the higher the score; the nearer to 0, the smaller: the front is what lies between."""

PARETO: dict[str, Any] = {
    "objectives": {"metrics": {"size": "minimize"}, "limits": {"size": "< 9"}, "preference": "pareto"},
    **SPOKEN,
    "sandbox": {"confirm": "best"},
}

TUNED: dict[str, Any] = {
    "search": {"prompts": 3, "samples": 2},
    "sampling": {"concurrency": 4},
    "tuner": {"enabled": True, "share": 1.0},
}

FALLBACK: dict[str, Any] = {
    "models": [{"name": "openai/down", "fallbacks": [{"name": "openai/spare"}]}, {"name": "openai/test"}],
    "concurrency": 2,
}


def down(number: int, request: Request) -> Answer:
    """Answer for all models but one."""
    is_down = request["model"] == "down"
    return Answer({"error": {"message": "down"}}, status=503) if is_down else by_prompt(number, request)


KINDS = {
    "confirmed": Kind((1, 2), CONFIRMED),
    "metrics and notes": Kind((1, 2), SPOKEN | JUDGED | {"sandbox": {"confirm": "best"}}, NOTED),
    "pareto": Kind((1, 3), PARETO, TWO),
    "tuner": Kind((1, 2), TUNED),
    "feedback": Kind((3, 3), {"search": {"feedback": 600, "operators": []}}, script=by_prompt),
    "repairs": Kind((3, 3), {"sampling": {"concurrency": 2}, "search": {"repairs": 1.0}}, script=by_prompt),
    "fallback": Kind((3, 3), {"sampling": FALLBACK}, script=down),
}
