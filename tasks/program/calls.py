"""Turn an input into a call of the function, or of the command, that scores programs."""

from __future__ import annotations

from typing import Any

from schemas.errors import SpecificationError
from schemas.job import Call


def call_of_command(item: Any) -> Call:
    """Return the call of a command: one argument, the input as it is."""
    return Call((_frozen(item),))


def call_of_function(item: Any, function: str, arity: tuple[int, int], where: str) -> Call:
    """Return the call of a function; an array becomes several arguments, or a tuple if the function takes one.

    Args:
        item: The input.
        function: Name of the function, for messages.
        arity: Minimum and maximum number of its positional arguments; -1 for no maximum.
        where: Name of the input, for messages.

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
