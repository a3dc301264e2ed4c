"""Fixtures for nights on the toy problem and for commands in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.cli.main import run
from flows.night.search import search
from flows.night.stop_conditions import StopConditions
from flows.start.create_run import create_run
from flows.start.trust import accept
from schemas.history_backend import HistoryBackend
from tasks.history.files import RunFiles, files_of
from tasks.history.local_backend import LocalBackend
from tasks.problems.loading.load import load_problem
from tests.engine import PrivateEngine, private_engine
from tests.provider import Provider

Night = Callable[..., RunFiles]
Call = Callable[..., tuple[int, str]]

JUDGED: dict[str, Any] = {"validation": [2], "held_out": [3]}
"""Settings of a toy night whose best programs are judged on other inputs, each in containers of its own."""


@pytest.fixture
def call(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Function that runs a command in this process and returns its exit code and its output.

    A command starts no server of its own if the test uses that of all tests.
    """
    if "prefect" in request.fixturenames:
        monkeypatch.setenv("PREFECT_API_URL", request.getfixturevalue("prefect"))

    def call(*arguments: object) -> tuple[int, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture
def night(toy: Path, tmp_path: Path, prefect: str, sandbox_image: str) -> Night:
    """Function that runs a night on the toy problem and returns the run's files; an existing run is continued."""

    def run_night(
        generations: int = 2, *, run_id: str = "toy", history: Path | HistoryBackend = tmp_path, **more: Any
    ) -> RunFiles:
        settings = more.pop("settings", {})
        backend = LocalBackend(history) if isinstance(history, Path) else history
        files = files_of(backend, run_id)
        if not files.directory.exists():
            sampling = {"concurrency": 16, **settings.get("sampling", {})}  # generations overlap unless a test says so
            sandbox = {"image": sandbox_image, "slots": 1, **settings.get("sandbox", {})}
            given = {**settings, "sampling": sampling, "sandbox": sandbox}
            problem = load_problem(toy, given)
            accept(problem, given)
            create_run(problem, toy, backend, seed=more.pop("seed", 1), run_id=run_id)
        if (within_s := more.pop("within_s", None)) is not None:
            more["until"] = datetime.now(UTC) + timedelta(seconds=within_s)
        search(run_id, backend.location, StopConditions(generations=generations, **more))
        return files

    return run_night


@pytest.fixture(scope="package")
def _engine(sandbox_image: str) -> Iterator[PrivateEngine]:
    with private_engine(sandbox_image) as engine:
        yield engine


@pytest.fixture
def engine(_engine: PrivateEngine, monkeypatch: pytest.MonkeyPatch) -> PrivateEngine:
    """A private engine that a test may kill, used by this process and its children; it runs when a test begins."""
    if not _engine.answers():
        _engine.start()
    monkeypatch.setenv("DOCKER_HOST", _engine.host)
    return _engine


@pytest.fixture
def asks(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings that request completions from the provider on loopback."""
    monkeypatch.setenv("OPENAI_API_KEY", "test")
    return {"sampling": {"models": [{"name": "openai/test", "api_base": provider.api_base}], "attempts": 1, "batch": 1}}
