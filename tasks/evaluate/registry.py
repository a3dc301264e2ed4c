"""The sandbox backends by name: modules of `tasks/evaluate/backends/`, and those that other packages install.

A package of your own adds a backend by an entry point of the group `overnight.sandbox_backends` whose value is a
module. The module's function `create` makes the backend.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module
from importlib.metadata import entry_points
from types import ModuleType

from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.evaluate import backends
from overnight.tasks.evaluate.sandbox import SandboxBackend

ENTRY_POINTS = "overnight.sandbox_backends"
"""Group of the entry points by which other packages add backends."""


def create_backend(name: str, *, runners: int = 1) -> SandboxBackend:
    """Make the backend that settings name; it connects to nothing before its first call.

    Args:
        name: `sandbox.backend`.
        runners: Number of runners that it will run at the same time.

    Raises:
        UsageError: If there is no backend of this name.
        EnvironmentFault: If the package that adds it cannot be imported.
    """
    return _module(name).create(runners=runners)


def backend_names() -> list[str]:
    """Return the names of all backends, those that come with Overnight first."""
    shipped = _shipped()
    return [*shipped, *sorted({point.name for point in entry_points(group=ENTRY_POINTS)} - set(shipped))]


def _module(name: str) -> ModuleType:
    if name in _shipped():
        return import_module(f"{backends.__name__}.{name}")
    found = list(entry_points(group=ENTRY_POINTS, name=name))
    if not found:
        raise UsageError(
            f"sandbox.backend: expected one of {', '.join(backend_names())}, got {name!r}",
            remedy="Name one of these, or install the package that adds it beside Overnight: CONTRIBUTING.md, "
            "`A sandbox backend`.",
        )
    try:
        return found[0].load()
    except (ImportError, AttributeError) as error:
        raise EnvironmentFault(
            f"the sandbox backend {name} cannot be imported from {found[0].value}: {error}",
            remedy="Install its package again, or use another backend with --set sandbox.backend=docker.",
        ) from error


def _shipped() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))
