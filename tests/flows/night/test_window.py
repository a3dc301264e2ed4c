"""Generations overlap within the window; what a prompt may see of them is tried in `test_core.py`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history.database import Database
from overnight.testing.fake_provider import Provider, Request, says
from tests.flows.conftest import Night

WINDOW = 6


@pytest.mark.heavy
def test_a_straggler_holds_up_no_more_than_the_window_and_generations_overlap(
    night: Night, provider: Provider, asks: dict[str, Any], tmp_path: Path
):
    """One of the first prompts is answered only after all others that the window allows have been asked."""
    asked = threading.Event()

    def straggler(number: int, request: Request) -> Any:
        if number == 1:
            assert asked.wait(60), "the others are asked meanwhile"
        if len(provider.requests) >= WINDOW:
            asked.set()
        return says(request, f"```python\ndef guess(offset):\n    return offset + 1.{number}\n```")

    provider.script = straggler
    asks["sampling"]["concurrency"] = WINDOW
    night(2, settings={**asks, "search": {"prompts": 4, "samples": 1}})
    overlap = Database(tmp_path).rows(
        "SELECT b.started_at < a.ended_at AS overlap FROM generations a JOIN generations b ON b.generation = 2 "
        "WHERE a.generation = 1"
    )
    assert overlap == [{"overlap": True}]
