"""What a program needs of the Python it runs on, as PEP 723 writes it: packages, and a version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import InvalidSpecifier, SpecifierSet

from schemas.errors import SpecificationError

_MOST_CHARS = 10_000
"""Of a requirement."""


@dataclass(frozen=True)
class Dependencies:
    """The needs of all scripts of a problem together.

    Attributes:
        packages: As PEP 508 has it, such as `scipy>=1.16`; each once, in order.
        python: Versions that will do, such as `>=3.12`; empty if any will.
    """

    packages: tuple[str, ...] = ()
    python: str = ""


def read_dependencies(scripts: Mapping[str, Mapping[str, Any]]) -> Dependencies:
    """The needs that `# /// script` blocks say.

    Args:
        scripts: The TOML of each block, by the name of its file.

    Raises:
        SpecificationError: If one is not as PEP 723 has it.
    """
    packages: dict[str, None] = {}
    pythons = []
    for file, script in scripts.items():
        packages |= dict.fromkeys(_packages(script.get("dependencies", []), file))
        pythons.append(_python(script.get("requires-python", ""), file))
    return Dependencies(tuple(sorted(packages)), ",".join(sorted(filter(None, pythons))))


def _packages(given: Any, file: str) -> list[str]:
    if not isinstance(given, list) or not all(isinstance(one, str) for one in given):
        raise SpecificationError(
            f"{file}: `dependencies` is {given!r}, expected an array of strings",
            remedy='For example: dependencies = ["numpy", "scipy>=1.16"]',
        )
    return [_package(one, file) for one in given]


def _package(given: str, file: str) -> str:
    try:
        return str(parse_requirement(given))
    except ValueError as error:
        raise SpecificationError(
            f"{file}: {given[:_MOST_CHARS]!r} in `dependencies` is no requirement: {str(error).splitlines()[0]}",
            remedy='A name, and if need be a version, such as "scipy>=1.16".',
        ) from error


def parse_requirement(text: str) -> Requirement:
    """Parse a requirement as PEP 508 has it.

    Raises:
        ValueError: If it is none, or one that nobody writes: very long, or nested.
    """
    if len(text) > _MOST_CHARS:
        raise ValueError(f"it has more than {_MOST_CHARS} characters")
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
            remedy="Mend it, or leave it out.",
        ) from error
