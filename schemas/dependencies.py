"""Read the dependencies of programs from PEP 723 blocks: packages and versions of Python."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from overnight.schemas.errors import SpecificationError

_MAX_CHARS = 10_000
"""Limit on a requirement, characters."""


@dataclass(frozen=True)
class Dependencies:
    """Dependencies of all scripts of a problem together.

    Attributes:
        packages: Requirements in the form of PEP 508, such as `scipy>=1.16`; each once, sorted.
        python: Accepted versions of Python, such as `>=3.12`; empty if all are accepted.
        npm: Packages of npm, for an agent's image; no problem has any.
    """

    packages: tuple[str, ...] = ()
    python: str = ""
    npm: tuple[str, ...] = ()


def read_dependencies(scripts: Mapping[str, Mapping[str, Any]]) -> Dependencies:
    """Read the dependencies in the tables of `# /// script` blocks, by the names of their files.

    Raises:
        SpecificationError: If a block does not follow PEP 723.
    """
    packages: dict[str, None] = {}
    pythons = []
    for file, script in scripts.items():
        packages |= dict.fromkeys(_packages(script.get("dependencies", []), file))
        pythons.append(_python(script.get("requires-python", ""), file))
    return Dependencies(tuple(sorted(packages)), ",".join(sorted(filter(None, pythons))))


def _packages(given: Any, file: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(item, str) for item in given):
        raise SpecificationError(
            f"{file}: `dependencies` is {given!r}, expected an array of strings",
            remedy='For example: dependencies = ["numpy", "scipy>=1.16"]',
        )
    return [_package(item, file) for item in given]


def _package(given: str, file: str) -> str:
    try:
        return str(parse_requirement(given))
    except ValueError as error:
        raise SpecificationError(
            f"{file}: {given[:_MAX_CHARS]!r} in `dependencies` is not a requirement: {str(error).splitlines()[0]}",
            remedy='Give a name and, if needed, a version, such as "scipy>=1.16".',
        ) from error


def parse_requirement(text: str) -> Requirement:
    """Parse a requirement in the form of PEP 508; raise a ValueError if it is none, too long, or nested too deeply."""
    if len(text) > _MAX_CHARS:
        raise ValueError(f"it has more than {_MAX_CHARS} characters")
    try:
        return Requirement(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _python(given: Any, file: str) -> str:
    try:
        return str(SpecifierSet(given))
    except (InvalidSpecifier, TypeError, AttributeError) as error:
        raise SpecificationError(
            f"{file}: `requires-python` is {given!r}, expected something like '>=3.12'",
            remedy="Correct it, or leave it out.",
        ) from error
