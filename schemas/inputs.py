"""From an input, as it is written down, to a call of what scores a program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from schemas import problem_folder
from schemas.bounded_parsing import parse_json
from schemas.errors import SpecificationError
from schemas.job import Call
from schemas.skeleton import Skeleton
from schemas.specification import Specification

SPLITS = ("inputs", "validation", "held_out")
"""Settings that hold inputs."""

MOST_BYTES = 32 * 2**20
"""Limit on all input files of a problem together: every run keeps a copy of their content."""


@dataclass
class InputFiles:
    """The JSON files that settings name as inputs.

    Attributes:
        folder: The problem's, where they lie.
        left: Bytes that may still be read.
    """

    folder: Path
    left: int = field(default=MOST_BYTES, init=False)

    def content(self, item: Any) -> Any:
        """Return an input: the content of the file that it names, or the item itself where it names none.

        Raises:
            SpecificationError: If the file is not there, outside of the folder, too large, or no JSON.
        """
        if not isinstance(item, str) or not item.endswith(".json"):
            return item
        try:
            text = problem_folder.read_bytes(self.folder, item, most_bytes=self.left)
            self.left -= len(text)
            return parse_json(text)
        except SpecificationError as error:
            raise SpecificationError(
                f"input file {item!r}: {error.message}",
                remedy="Paths are read from the specification's folder. Large data goes into `files`, where programs "
                "read it.",
            ) from error
        except ValueError as error:
            raise SpecificationError(f"{self.folder / item}: no JSON: {error}", remedy="Mend it.") from error


def read_calls(raw: Sequence[Any], specification: Skeleton, name: str) -> tuple[Call, ...]:
    """One call for each input.

    Args:
        raw: The inputs as a specification, a file or a flag has them.
        specification: Says how many arguments its run function takes.
        name: Of the problem, for messages.

    Raises:
        SpecificationError: If one does not fit the run function.
    """
    return tuple(_call(item, specification, f"{name}: input {number}") for number, item in enumerate(raw, start=1))


def _call(item: Any, specification: Skeleton, where: str) -> Call:
    """One input as a call. An array is spread over the parameters where the run function has several, else a tuple."""
    if not isinstance(specification, Specification):
        return Call((_frozen(item),))
    fewest, most = specification.run_arity
    if _is_explicit_call(item):
        return Call(tuple(_frozen(value) for value in item.get("args", ())), dict(item.get("kwargs", {})))
    args = tuple(_frozen(part) for part in item) if isinstance(item, list | tuple) and most != 1 else (_frozen(item),)
    if len(args) < fewest or (most >= 0 and len(args) > most):
        takes = str(fewest) if fewest == most else f"{fewest} to {most if most >= 0 else 'any number of'}"
        raise SpecificationError(
            f"{where} is {item!r}, but `{specification.run}` takes {takes} arguments",
            remedy="An array is spread over the arguments; a data object is one argument.",
        )
    return Call(args)


def _is_explicit_call(item: Any) -> bool:
    return (
        isinstance(item, dict)
        and bool(item)
        and set(item) <= {"args", "kwargs"}
        and isinstance(item.get("args", []), list)
        and isinstance(item.get("kwargs", {}), dict)
    )


def _frozen(value: Any) -> Any:
    """Arrays become tuples, as specifications expect of small inputs; inside an object they stay lists."""
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
