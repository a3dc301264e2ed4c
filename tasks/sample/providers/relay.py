"""The provider of models named `relay:FOLDER`: whoever writes the answer file of a request is the model.

A request is a file `ID.prompt.md` in the folder, and its answer is `ID.answer.md` there. The id follows from the prompt
and the seed, so that a night which is killed finds the answers that came meanwhile. `RELAY.md`, which is written into
the folder, tells a person or an agent how to answer.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from overnight.schemas.errors import EnvironmentFault, TransientProviderError, UsageError
from overnight.schemas.program import Prompt
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.providers import Answer, Choice, Price, ReportedUsage, rough_tokens, to_valid_text

PREFIX = "relay:"
GUIDE = "RELAY.md"
_PROMPT, _ANSWER = ".prompt.md", ".answer.md"
_LOOK_S = 0.5
_MAX_BYTES = 4 * 2**20
"""Most bytes of an answer."""


class RelayProvider:
    """`Provider` of folders."""

    def require(self, model: Model) -> None:
        open_relay(Path(model.name.removeprefix(PREFIX)))

    def missing_keys(self, name: str) -> list[str]:  # noqa: ARG002
        return []

    def takes_n(self, name: str) -> bool:  # noqa: ARG002
        return False  # each request has one answer

    def price(self, name: str) -> Price:  # noqa: ARG002
        return Price(0.0, 0.0)

    def count_tokens(self, name: str, text: str) -> int:  # noqa: ARG002
        return rough_tokens(text)

    def timeout_s(self, model: Model, settings: Sampling) -> None:  # noqa: ARG002
        """Return no limit: an answer is waited for until the night ends."""
        return

    async def send(self, model: Model, prompt: Prompt, settings: Sampling, *, samples: int, seed: int) -> Answer:  # noqa: ARG002
        folder = open_relay(Path(model.name.removeprefix(PREFIX)))
        request = ask(folder, prompt.whole_text, seed)
        seen: tuple[int, int] | None = None
        while True:
            now = _state(request.answer)
            if now is not None and now == seen:  # unchanged for a while: nobody is writing it
                return Answer((Choice(read_answer(request), "stop"),), ReportedUsage(None, None, None))
            seen = now
            await asyncio.sleep(_LOOK_S)

    async def close(self) -> None:
        pass


create = RelayProvider


@dataclass(frozen=True, order=True)
class Request:
    """A request in a folder.

    Attributes:
        id: Its id.
        prompt: File with the prompt.
        answer: File that its answer is written to.
    """

    id: str
    prompt: Path
    answer: Path


def open_relay(folder: Path) -> Path:
    """Make a folder one of requests and answers if it is new or empty, and return it.

    Raises:
        UsageError: If it holds something else.
        EnvironmentFault: If it cannot be written.
    """
    guide = folder / GUIDE
    try:
        if guide.is_file():
            return folder
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(
                f"{folder} holds something else than requests: there is no {GUIDE} in it",
                remedy="Name a new folder: --model relay:FOLDER",
            )
        _write(guide, files("overnight.tasks.sample.templates").joinpath("relay.md").read_text(encoding="utf-8"))
    except OSError as error:
        raise EnvironmentFault(
            f"cannot use the folder {folder}: {error.strerror}", remedy="Name another one: --model relay:FOLDER"
        ) from error
    return folder


def ask(folder: Path, prompt: str, seed: int) -> Request:
    """Write a request, if it is not there yet, and return it."""
    request = _request(folder, hashlib.sha256(f"{seed}\n{prompt}".encode("utf-8", "replace")).hexdigest()[:12])
    if not request.prompt.exists():
        _write(request.prompt, prompt)
    return request


def requests_in(folder: Path) -> list[Request]:
    """Return all requests of a folder, oldest first."""
    found = sorted(folder.glob(f"*{_PROMPT}"), key=lambda path: (path.stat().st_mtime_ns, path.name))
    return [_request(folder, path.name.removesuffix(_PROMPT)) for path in found]


def answers_to_nothing(folder: Path) -> list[Path]:
    """Return the files that look like answers, and are to no request."""
    known = {request.answer for request in requests_in(folder)}
    return sorted(path for path in folder.glob("*.answer*") if path not in known)


def write_answer(request: Request, text: str) -> None:
    """Write the answer of a request at once."""
    _write(request.answer, text)


def read_answer(request: Request) -> str:
    """Return the answer of a request.

    Raises:
        TransientProviderError: If it is too long, or cannot be read.
    """
    try:
        with request.answer.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise TransientProviderError(f"{request.answer} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise TransientProviderError(f"{request.answer} is longer than {_MAX_BYTES // 2**20} MiB")
    return to_valid_text(content.decode("utf-8", "replace"))


def _request(folder: Path, name: str) -> Request:
    return Request(name, folder / f"{name}{_PROMPT}", folder / f"{name}{_ANSWER}")


def _state(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of a file; None if it is missing or empty."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size else None


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8", errors="replace")
    partial.replace(path)
