"""Fixtures for nights on the toy problem and for commands in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from filelock import FileLock

from overnight.flows.cli.main import run
from overnight.flows.night.search import search
from overnight.flows.night.stop_conditions import StopConditions
from overnight.flows.start.create_run import create_run
from overnight.flows.start.trust import accept
from overnight.schemas.history_backend import HistoryBackend
from overnight.tasks.history.files import RunFiles, files_of
from overnight.tasks.history.local_backend import LocalBackend
from overnight.tasks.problems.loading.load import load_problem
from overnight.testing.fake_provider import Provider
from tests.command_server import RunningCommand, fork_for_queries, start_command
from tests.engine import PrivateEngine, private_engine
from tests.in_process import InProcess, search_without_prefect, use_plain_tasks, use_this_process

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

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
    fork_for_queries(monkeypatch.setattr)

    def call(*arguments: object) -> tuple[int, str]:
        code = run([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    return call


@pytest.fixture(autouse=True)
def charts(without_charts: None) -> None:
    """Charts of reports are empty, unless a module has a fixture of this name that leaves them."""


@pytest.fixture
def client(prefect: str) -> Iterator[SyncPrefectClient]:
    """A client of the tests' Prefect server."""
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        yield client


@pytest.fixture
def endless(prefect: str, slow_toy: Path, tmp_path: Path) -> Iterator[RunningCommand]:
    """A night in the foreground without stop conditions that are ever met."""
    environment = {**os.environ, "PREFECT_API_URL": prefect, "OVERNIGHT_HISTORY": str(tmp_path)}
    process = start_command(["run", str(slow_toy), "--generations", "100000"], environment)
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> InProcess:
    """Programs are evaluated in this process; a test may cause faults of the sandbox."""
    return use_this_process(monkeypatch.setattr)


@pytest.fixture
def night(
    toy: Path, tmp_path: Path, in_process: InProcess, sandbox_image: str, monkeypatch: pytest.MonkeyPatch
) -> Night:
    """Function that runs a night on the toy problem and returns the run's files; an existing run is continued.

    All of it happens in this process, without Prefect and containers. Use it with programs that are harmless.
    """
    use_plain_tasks(monkeypatch.setattr)
    return partial(_run_night, search_without_prefect, toy, tmp_path, sandbox_image)


@pytest.fixture
def prefect_night(toy: Path, tmp_path: Path, prefect: str, in_process: InProcess, sandbox_image: str) -> Night:
    """The same with Prefect's flows on the tests' server, of which each test needs a run id of its own."""
    return partial(_run_night, search, toy, tmp_path, sandbox_image)


@pytest.fixture
def docker_night(toy: Path, tmp_path: Path, sandbox_image: str, monkeypatch: pytest.MonkeyPatch) -> Night:
    """The same with containers, or what else a test's settings name, and without Prefect."""
    use_plain_tasks(monkeypatch.setattr)
    return partial(_run_night, search_without_prefect, toy, tmp_path, sandbox_image)


def _run_night(
    search: Callable[..., object],
    toy: Path,
    folder: Path,
    image: str,
    generations: int | None = 2,
    *,
    run_id: str = "toy",
    history: Path | HistoryBackend | None = None,
    again: list[int] | None = None,
    **more: Any,
) -> RunFiles:
    problem, settings = more.pop("problem", toy), more.pop("settings", {})
    place = history or folder
    backend = LocalBackend(place) if isinstance(place, Path) else place
    files = files_of(backend, run_id)
    if not files.directory.exists():
        sampling = {"concurrency": 16, **settings.get("sampling", {})}  # generations overlap unless a test says so
        sandbox = {"image": image, "slots": 1, **settings.get("sandbox", {})}
        search_settings = {"seconds": 0, **settings.get("search", {})}  # no clock decides where a generation ends
        given = {**settings, "sampling": sampling, "sandbox": sandbox, "search": search_settings}
        loaded = load_problem(problem, given)
        accept(loaded, given)
        create_run(loaded, problem, backend, seed=more.pop("seed", 1), run_id=run_id)
    if (within_s := more.pop("within_s", None)) is not None:
        more["until"] = datetime.now(UTC) + timedelta(seconds=within_s)
    search(run_id, backend.location, StopConditions(generations=generations, **more), again)
    return files


@pytest.fixture
def finished(shared_folder: Path, tmp_path: Path) -> Callable[[str, Callable[[Path], object]], Path]:
    """Function that returns a copy of a history of a name, which one process of a test run builds for all."""

    def copy(name: str, build: Callable[[Path], object]) -> Path:
        original = shared_folder / f"finished-{name}"
        with FileLock(f"{original}.lock"):
            if not original.exists():
                build(tmp_path / "built")
                (tmp_path / "built").rename(original)
        return Path(shutil.copytree(original, tmp_path / "finished", symlinks=True))

    return copy


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
