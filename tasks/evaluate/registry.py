"""The sandbox backends by name: modules of `tasks/evaluate/backends/`, and plug-ins of the kind `sandboxes`."""

from __future__ import annotations

import pkgutil
from importlib import import_module

from overnight.schemas import plugins
from overnight.schemas.errors import UsageError
from overnight.tasks.evaluate import backends
from overnight.tasks.evaluate.sandbox import SandboxBackend


def create_backend(name: str, *, runners: int = 1) -> SandboxBackend:
    """Make the backend that settings name; it connects to nothing before its first call.

    Args:
        name: `sandbox.backend`.
        runners: Number of runners that it will run at the same time.

    Raises:
        UsageError: If there is no backend of this name.
        EnvironmentFault: If the plug-in that has it cannot be loaded.
    """
    if name in backend_names():
        return import_module(f"{backends.__name__}.{name}").create(runners=runners)
    plugin = backend_plugin(name)
    if plugin is None:
        known = [*backend_names(), *plugins.names("sandboxes")]
        raise UsageError(
            f"sandbox.backend: expected one of {', '.join(known)}, got {name!r}",
            remedy="Name one of these, or install the package that adds it beside Overnight: CONTRIBUTING.md, "
            "`A sandbox backend`.",
        )
    return plugin.load("create")(runners=runners)


def backend_plugin(name: str) -> plugins.Plugin | None:
    """Return the plug-in that has a backend; `None` if it comes with Overnight, or no package has it."""
    return None if name in backend_names() else plugins.find("sandboxes", name)


def backend_names() -> list[str]:
    """Return the names of the backends that come with Overnight."""
    return sorted(module.name for module in pkgutil.iter_modules(backends.__path__))
