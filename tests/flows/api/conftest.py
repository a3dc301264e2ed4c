"""The finished history of the commands' tests, for reading; nights run on Docker with the built-in model."""

from __future__ import annotations

from tests.flows.cli.conftest import finished_history as finished_history
