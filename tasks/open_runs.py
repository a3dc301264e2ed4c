"""Services of the runs that are open in this process.

A Prefect task takes plain data and names its run. What it works with beside, such as models and sandboxes, belongs to
the process that has the run open.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Generic, TypeVar

from schemas.errors import UsageError

Service = TypeVar("Service")


class OpenRuns(Generic[Service]):
    """Services of one kind, by the directory of their run."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}

    @contextlib.contextmanager
    def serving(self, run: str, service: Service) -> Iterator[None]:
        """Offer a service to the tasks of a run within the context."""
        self._services[run] = service
        try:
            yield
        finally:
            del self._services[run]

    def of(self, run: str) -> Service:
        """Return the service of a run.

        Raises:
            UsageError: If this process does not have the run open.
        """
        if run not in self._services:
            raise UsageError(
                f"{run} is not open in this process",
                remedy="A task runs within its generation: run the flow `generation`, or `overnight resume`.",
            )
        return self._services[run]
