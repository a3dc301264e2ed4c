"""The finished history of the commands' tests, for reading, and where the nights of these tests run."""

from __future__ import annotations

import pytest

from tests.command_server import fork_for_api
from tests.conftest import ON_PROCESSES
from tests.flows.cli.conftest import finished_history as finished_history


@pytest.fixture
def on_server(prefect_api: str, monkeypatch: pytest.MonkeyPatch):
    """Nights that are run from Python are forked and use the tests' Prefect server."""
    monkeypatch.setenv("PREFECT_API_URL", prefect_api)
    fork_for_api(monkeypatch.setattr)


@pytest.fixture
def on_processes(on_server: None, monkeypatch: pytest.MonkeyPatch):
    """The same, and their harmless programs run in plain processes."""
    for name, value in ON_PROCESSES.items():
        monkeypatch.setenv(name, value)
