"""Creation of a run, without a container."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from overnight.flows.start import create_run as module
from overnight.flows.start.create_run import create_run
from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem

SETTINGS: dict[str, Any] = {"sandbox": {"slots": 1, "confirm": "never"}}


@pytest.mark.usefixtures("in_process")
def test_the_start_program_is_scored_while_keys_are_looked_at(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    scored, score_start = threading.Event(), module.score_start

    def score(*given: Any, **more: Any) -> Any:
        scored.set()
        return score_start(*given, **more)

    def look(_: object) -> None:
        if not scored.wait(10):
            pytest.fail("the start program waits for it")
        raise EnvironmentFault("no key", remedy="")

    monkeypatch.setattr(module, "score_start", score)
    monkeypatch.setattr(module, "require_keys", look)
    with pytest.raises(EnvironmentFault, match="no key"):
        create_run(load_problem(toy, SETTINGS), toy, LocalBackend(tmp_path), seed=1)
    assert not (tmp_path / "runs").exists(), "nothing is written"
