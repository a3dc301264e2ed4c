"""Requests from an agent's container, read as what anybody may have sent: known fields, plain values, within limits.

`model_requests.py` reads the requests for its model by the same rules.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from overnight.tasks.program.bounded_parsing import parse_json

MOST_BYTES = 16 * 2**20
"""Most characters of a request; the first process in the container refuses longer ones, too."""

_SHOWN = 300

T = TypeVar("T", bound=BaseModel)


class RequestRefused(Exception):
    """A request that is not answered, with the reason for the agent, and the status of HTTP."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class Known(BaseModel):
    """An object of which all fields are known; a field that is null counts as absent.

    Attributes:
        ignored: Fields that are left out: nothing depends on them.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
    ignored: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_ignored(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None and name not in cls.ignored}


class Asked(Known):
    """A request in a frame from the container."""

    request: int
    path: Annotated[str, Field(max_length=4096)]
    body: str


class Ended(Known):
    """The last frame from the container: how the agent ended, with its files, or the reason why one cannot be read.

    Attributes:
        left: Further texts that it left in its folder, by path.
    """

    ended: int | str
    output: str = ""
    files: dict[str, str | list[str]] = {}
    left: dict[str, str] = {}


class Program(Known):
    """A request that a program be scored: its files by path."""

    files: dict[str, str]


class Query(Known):
    """A request for rows of the run's history."""

    query: str


def read_frame(data: bytes) -> Asked | Ended:
    """Return what a frame from the container holds.

    Raises:
        RequestRefused: If it is neither a request nor the end.
    """
    message = _parse(data)  # its length is limited where it is received
    return _validated(Ended if isinstance(message, dict) and "ended" in message else Asked, message)


def read_body(kind: type[T], body: str) -> T:
    """Return what the body of a request holds.

    Raises:
        RequestRefused: If it is no such object.
    """
    if len(body) > MOST_BYTES:
        raise RequestRefused(f"expected at most {MOST_BYTES // 2**20} MiB", 413)
    return _validated(kind, _parse(body))


def _parse(text: str | bytes) -> Any:
    """Return plain data in JSON: its texts can be stored and sent, its numbers are finite and of usual size."""
    try:
        data = parse_json(text)
        json.dumps(data, allow_nan=False)
    except ValueError as error:
        raise RequestRefused(f"expected JSON of finite numbers in valid Unicode: {str(error)[:_SHOWN]}") from error
    return data


def _validated(kind: type[T], data: Any) -> T:
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        first = max(found, key=lambda one: len(one["loc"]))  # of alternatives, that which came furthest
        place = ".".join(str(part) for part in first["loc"] if "[" not in str(part)) or "the request"
        said = "this field is not known here" if first["type"] == "extra_forbidden" else first["msg"]
        raise RequestRefused(f"{place[:_SHOWN]}: {said[:_SHOWN]}") from error
