"""Runs of two nights, one of each kind, which one process of a test run makes for all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from overnight.tasks.history.files import RunFiles
from overnight.testing.fake_provider import Provider
from overnight.testing.made import run_at
from tests.flows.conftest import Night
from tests.flows.night.kinds import KINDS
from tests.toys import toy_with

TwoNights = Callable[[str], RunFiles]


@pytest.fixture
def two_nights(
    night: Night,
    finished: Callable[..., Path],
    provider: Provider,
    asks: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> TwoNights:
    """Function that returns the files of a run of two nights of a kind, of which the second resumed the first."""

    monkeypatch.setenv("OPENAI_BASE_URL", provider.api_base)

    def of(name: str) -> RunFiles:
        kind = KINDS[name]
        settings = kind.settings
        if kind.script:
            provider.script = kind.script
            settings = settings | {"sampling": asks["sampling"] | settings.get("sampling", {})}

        def build(history: Path) -> None:
            problem = toy_with(tmp_path / "problem/toy.py", score=kind.score)
            for generations in kind.generations:
                night(generations, history=history, settings=settings, problem=problem)

        return run_at(finished(f"two nights, {name}", build) / "runs/toy")

    return of
