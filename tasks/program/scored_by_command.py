"""Turn inputs into calls of what scores programs; what skeletons have in common whose programs a command scores."""

from __future__ import annotations

from typing import Any, NoReturn

from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Call
from overnight.schemas.skeleton import Skeleton


class ScoredByCommand:
    """The part that skeletons of files have in common: a command scores them, no function of theirs does."""

    run = ""
    docstring = ""  # the task is described in the settings
    scoring = ""
    draw = ""  # a command draws, if anything does
    generator = ""
    isolation = None  # a command decides itself how it runs a program
    is_stub = False  # files say nothing of what is missing

    def defines(self, name: str) -> bool:  # noqa: ARG002
        return False

    def with_run(self, function: str) -> NoReturn:
        raise ValueError(f"a command scores the files, {function} cannot")

    def call(self, item: Any, where: str) -> Call:  # noqa: ARG002
        """Return one input as it is, the only argument."""
        return Call((_frozen(item),))

    def bare_text(self: Skeleton, body: str) -> str:
        """Return the `function_text`: there is no part that all bodies share."""
        return self.function_text(body)

    def meaning_hash(self: Skeleton, body: str) -> str:
        """Return the `code_hash`: of what the files mean, nothing is known."""
        return self.code_hash(body)


def call_of_function(item: Any, function: str, arity: tuple[int, int], where: str) -> Call:
    """Return the call of a function; an array becomes several arguments, or a tuple if the function takes one.

    `arity` is the minimum and maximum number of its positional arguments; −1 for no maximum.

    Raises:
        SpecificationError: If the function takes another number of arguments.
    """
    fewest, most = arity
    if _is_explicit_call(item):
        return Call(tuple(_frozen(value) for value in item.get("args", ())), dict(item.get("kwargs", {})))
    args = tuple(_frozen(part) for part in item) if isinstance(item, list | tuple) and most != 1 else (_frozen(item),)
    if len(args) < fewest or (most >= 0 and len(args) > most):
        takes = str(fewest) if fewest == most else f"{fewest} to {most if most >= 0 else 'any number of'}"
        raise SpecificationError(
            f"{where} is {item!r}, but `{function}` takes {takes} arguments",
            remedy="An array is passed as several arguments, an object as one argument.",
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
    """Return a value with its arrays as tuples, as specifications expect; arrays inside an object stay lists."""
    return tuple(_frozen(part) for part in value) if isinstance(value, list) else value
