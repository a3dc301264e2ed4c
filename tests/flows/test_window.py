"""Generations overlap within the window, and what arrives first makes no difference."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import run
from tasks.history.database import Database
from tests.flows.conftest import Night
from tests.flows.test_search import everything
from tests.provider import Answer, Provider, Request, response_body

GREEDY = {"islands": 1, "parents": 1, "cluster_temperature": 1e-9}

pytestmark = [pytest.mark.docker, pytest.mark.prefect]


def improved(number: int, request: Request) -> Answer:
    """Answer with a program that is nearer to the optimum than any that the prompt shows."""
    text = "".join(message["content"] for message in request["messages"])
    best = max(float(value) for value in re.findall(r"return offset \+ ([0-9.]+)", text))
    body = f"return offset + {best + (10 - best) / 4}"
    message = {"role": "assistant", "content": f"```python\ndef guess(offset):\n    {body}\n```"}
    return Answer(
        response_body(request, [{"index": 0, "message": message, "finish_reason": "stop"}], "chat.completion")
    )


@pytest.fixture
def settings(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    monkeypatch.setenv("OPENAI_API_KEY", "test")

    def with_window(window: int, **search: Any) -> dict[str, Any]:
        model = {"name": "openai/test", "api_base": provider.api_base}
        return {
            "sampling": {"models": [model], "attempts": 1, "concurrency": window},
            "search": {"prompts": 4, "samples": 1, "algorithm": GREEDY, **search},
        }

    return with_window


def test_which_answer_arrives_first_makes_no_difference(
    night: Night, provider: Provider, settings: Callable[..., dict[str, Any]], tmp_path: Path
):
    def reversed_in_pairs(number: int, request: Request) -> Answer:
        time.sleep(0.3 if number % 2 == 0 else 0.0)
        return improved(number, request)

    provider.script = improved
    prompt = night(3, history=tmp_path / "a", settings=settings(2))
    provider.script = reversed_in_pairs
    late = night(3, history=tmp_path / "b", settings=settings(2))
    assert everything(prompt) == everything(late)
    assert run(["replay", "last", "--history", str(tmp_path / "b")]) == 0


def test_a_prompt_shows_what_came_before_the_window_of_its_own_generation_too(
    night: Night, provider: Provider, settings: Callable[..., dict[str, Any]], tmp_path: Path
):
    provider.script = improved
    night(3, settings=settings(1))
    rows = Database(tmp_path).rows("FROM programs WHERE generation > 0 ORDER BY generation, index")
    assert len(rows) == 12
    parents = [row["parent_ids"][-1] for row in rows]
    assert parents[1:] == [row["program_id"] for row in rows[:-1]], "each improves the one before it"


def test_a_straggler_holds_up_no_more_than_the_window_and_generations_overlap(
    night: Night, provider: Provider, settings: Callable[..., dict[str, Any]], prefect: str, tmp_path: Path
):
    """One of the first prompts is answered only after all others that the window allows have been asked."""
    window, asked = 6, threading.Event()

    def straggler(number: int, request: Request) -> Answer:
        if number == 1:
            assert asked.wait(60), "the others are asked meanwhile"
        if len(provider.requests) >= window:
            asked.set()
        return improved(number, request)

    provider.script = straggler
    night(2, settings=settings(window))
    overlap = Database(tmp_path).rows(
        "SELECT b.started_at < a.ended_at AS overlap FROM generations a JOIN generations b ON b.generation = 2 "
        "WHERE a.generation = 1"
    )
    assert overlap == [{"overlap": True}]
