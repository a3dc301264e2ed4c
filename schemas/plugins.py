"""Plug-ins: what packages that are installed beside Overnight add to it, found by their entry points.

A package names a module, or an object, in the group of its kind, such as `overnight.algorithms`. The module has the
same attributes as a module of ours of that kind; CONTRIBUTING.md lists them. Ours take precedence over a plug-in of the
same name.

Finding plug-ins reads the metadata of packages, which takes some 50 ms, so a name that is ours is never looked up. The
code of a plug-in is imported when it is loaded, which only what the user has named or accepted may be.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any, Literal, get_args

from overnight.schemas.errors import EnvironmentFault

Kind = Literal["algorithms", "histories", "notifications", "problem_formats", "providers", "sandboxes"]
"""Kind of a plug-in; the group of its entry points is `overnight.KIND`."""

_FAULTS = (ImportError, AttributeError, NameError, SyntaxError, TypeError, ValueError)
"""Errors of a module that does not fit its surroundings, such as another version of Overnight."""


@dataclass(frozen=True, order=True)
class Plugin:
    """An entry point of an installed package.

    Attributes:
        target: Its module, or `MODULE:OBJECT`.
        summary: First line of the package's description.
    """

    kind: Kind
    name: str
    package: str
    version: str
    target: str
    summary: str = field(compare=False)

    @property
    def key(self) -> str:
        """Group and name, by which a run records the package."""
        return f"overnight.{self.kind}/{self.name}"

    @property
    def release(self) -> str:
        """Name and version of the package."""
        return f"{self.package} {self.version}"

    def load(self, attribute: str) -> Any:
        """Import the plug-in and return an attribute of it; raise an EnvironmentFault if either fails."""
        module, _, names = self.target.partition(":")
        try:
            found = import_module(module)
            for name in filter(None, (*names.split("."), attribute)):
                found = getattr(found, name)
        except _FAULTS as error:
            raise EnvironmentFault(
                f"the plug-in {self.key} of {self.release} cannot be loaded: expected `{attribute}` in {self.target}, "
                f"got {type(error).__name__}: {error}",
                remedy=f"Install a version of {self.package} that fits this version of Overnight, or name another one "
                "in its place; `overnight doctor` lists all plug-ins.",
            ) from error
        return found


def installed() -> tuple[Plugin, ...]:
    """Return all plug-ins of the packages that can be imported now, in order of kind and name."""
    return _installed(tuple(sys.path))


def find(kind: Kind, name: str) -> Plugin | None:
    """Return the plug-in of a kind and a name, `None` if no package has it; raise an EnvironmentFault if several do."""
    found = [plugin for plugin in installed() if (plugin.kind, plugin.name) == (kind, name)]
    if len(found) > 1:
        releases = " and ".join(plugin.release for plugin in found)
        raise EnvironmentFault(
            f"expected one package with the plug-in {found[0].key}, got {releases}",
            remedy=f"Uninstall all but one, for example: uv pip uninstall {found[-1].package}",
        )
    return found[0] if found else None


def names(kind: Kind) -> list[str]:
    return list(dict.fromkeys(plugin.name for plugin in installed() if plugin.kind == kind))


@cache
def _installed(_: tuple[str, ...]) -> tuple[Plugin, ...]:
    from importlib.metadata import entry_points  # reading all metadata is slow, and most commands need none

    found = {
        Plugin(kind, point.name, point.dist.name, point.dist.version, point.value, point.dist.metadata["Summary"] or "")
        for kind in get_args(Kind)
        for point in entry_points(group=f"overnight.{kind}")
        if point.dist
    }
    return tuple(sorted(found))
