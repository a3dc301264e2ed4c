"""The finished history of the commands' tests, for reading, and where the nights of these tests run."""

from __future__ import annotations

import pytest

from tests.command_server import fork_for_api
from tests.conftest import QUICK
from tests.flows.cli.conftest import finished_history as finished_history


@pytest.fixture
def on_processes(monkeypatch: pytest.MonkeyPatch):
    """Commands of the API are forked, and their nights need neither containers nor Prefect."""
    fork_for_api(monkeypatch.setattr)
    for name, value in QUICK.items():
        monkeypatch.setenv(name, value)
