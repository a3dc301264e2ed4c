"""The provider of models named `relay:FOLDER`: whoever writes the answer file of a request is the model.

A request is a file `ID.prompt.md` in the folder, and its answer is `ID.answer.md` there. The id follows from the prompt
and the seed, so that a night which is killed finds the answers that came meanwhile. `RELAY.md`, which is written into
the folder, tells a person or an agent how to answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from pydantic import TypeAdapter, ValidationError

from overnight.schemas.errors import EnvironmentFault, ProviderError, TransientProviderError, UsageError
from overnight.schemas.program import Prompt, without_measured
from overnight.schemas.sampling_settings import Model, Sampling
from overnight.tasks.sample.providers import (
    Answer,
    Choice,
    Price,
    ReportedUsage,
    about_the_text,
    rough_tokens,
    to_valid_text,
)

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
        about = About(
            prompt.operator, prompt.base_id, prompt.base_score, base_body=prompt.base, shown=len(prompt.parent_ids)
        )
        request = ask(folder, prompt.whole_text, seed, about)
        try:
            await _answered(request)
        except asyncio.CancelledError:
            _note(request, replace(about, is_wanted=False))
            raise
        return Answer((Choice(read_answer(request), "stop"),), ReportedUsage(None, None, None))

    async def close(self) -> None:
        pass


create = RelayProvider


async def _answered(request: Request) -> None:
    """Wait until a request has an answer that was unchanged for a while: nobody is writing it."""
    seen: tuple[int, int] | None = None
    while (now := _state(request.answer)) is None or now != seen:
        seen = now
        await asyncio.sleep(_LOOK_S)


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


@dataclass(frozen=True)
class About:
    """Facts of a request for those who answer.

    Attributes:
        operator: Kind of change that is asked for.
        base: Id of the program to change.
        score: Its score.
        is_wanted: Whether a night waits for its answer, as far as is known: one that is killed cannot withdraw it.
        base_body: Body of that program.
        shown: Number of programs in the prompt.
    """

    operator: str = ""
    base: str = ""
    score: float | None = None
    is_wanted: bool = True
    base_body: str = ""
    shown: int = 0


_ABOUT = TypeAdapter(About)


def open_relay(folder: Path) -> Path:
    """Make a folder one of requests and answers if it is new or empty, and return it; nobody else may use it.

    Raises:
        UsageError: If it holds something else.
        EnvironmentFault: If it cannot be written, is a link, or is another user's.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _opened(folder) as directory:
            if is_relay(folder):
                return folder
            if os.listdir(directory):
                raise UsageError(
                    f"{folder} holds something else than requests: there is no {GUIDE} in it",
                    remedy="Name a new folder: --model relay:FOLDER",
                )
            guide = files("overnight.tasks.sample.templates").joinpath("relay.md").read_text(encoding="utf-8")
            _write(folder / GUIDE, guide)
    except OSError as error:
        raise EnvironmentFault(
            f"cannot use the folder {folder}: {error.strerror}", remedy="Name another one: --model relay:FOLDER"
        ) from error
    return folder


def is_relay(folder: Path) -> bool:
    """Return whether a folder is one of requests and answers."""
    return _found(folder / GUIDE) is not None


def require_relay(folder: Path) -> None:
    """Raise a UsageError if a folder is none of requests and answers."""
    if not is_relay(folder):
        raise UsageError(
            f"{folder} is no folder of requests: there is no {GUIDE} in it",
            remedy=f"A run makes it: overnight run PROBLEM --model relay:{shlex.quote(str(folder))}",
        )


def ask(folder: Path, prompt: str, seed: int, about: About | None = None) -> Request:
    """Write a request, if it is not there yet, and what it is about beside it; return it."""
    text = f"{seed}\n{without_measured(prompt)}"
    request = _request(folder, hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:12])
    _note(request, about or About())
    if _found(request.prompt) is None:
        _write(request.prompt, prompt)
    return request


def waited_s(request: Request) -> float:
    """Return for how many seconds a request has been there."""
    found = _found(request.prompt)
    return max(0.0, time.time() - found.st_mtime) if found else 0.0


def read_about(request: Request) -> About:
    """Return what a request is about, which says nothing where that cannot be read."""
    try:
        return _ABOUT.validate_json(_read(_about(request)))
    except (ProviderError, ValidationError):
        return About()


def requests_in(folder: Path) -> list[Request]:
    """Return all requests of a folder, oldest first."""
    found = [(path, _found(path)) for path in folder.glob(f"*{_PROMPT}")]
    dated = sorted((state.st_mtime_ns, path.name) for path, state in found if state)
    return [_request(folder, name.removesuffix(_PROMPT)) for _, name in dated]


def answers_to_nothing(folder: Path) -> list[Path]:
    """Return the files that look like answers, and are to no request."""
    known = {request.answer for request in requests_in(folder)}
    return sorted(path for path in folder.glob("*.answer*") if path not in known)


def is_answered(request: Request) -> bool:
    return os.path.lexists(request.answer)


def require_unanswered(request: Request) -> None:
    """Raise a UsageError if a request has an answer."""
    if is_answered(request):
        raise UsageError(
            f"{request.id} is answered already",
            remedy=f"List what waits: overnight relay {shlex.quote(str(request.answer.parent))}",
        )


def write_answer(request: Request, text: str) -> str:
    """Write the answer of a request at once, and return what became of it, in words.

    Raises:
        UsageError: If the request is answered, or the text is empty or too long.
    """
    require_unanswered(request)
    if not text.strip():
        raise UsageError("the answer is empty; nothing was written")
    if len(text.encode("utf-8", "replace")) > _MAX_BYTES:
        raise UsageError(f"the answer is longer than {_MAX_BYTES // 2**20} MiB; nothing was written")
    _write(request.answer, text)
    is_wanted = read_about(request).is_wanted
    return f"answered {request.id}{'' if is_wanted else '; nobody waits now: a night that asks the same takes it'}"


def read_prompt(request: Request) -> str:
    """Return the prompt of a request; it raises as `read_answer`."""
    return _read(request.prompt)


def read_answer(request: Request) -> str:
    """Return the answer of a request.

    Raises:
        PromptRefused: If it is too long, or no file of this user; nobody else may put words into a night.
        TransientProviderError: If it cannot be read now.
    """
    return _read(request.answer)


def _note(request: Request, about: About) -> None:
    """Write what a request is about; a full disk, or a folder that is gone, does not fail a request for it."""
    with contextlib.suppress(OSError, EnvironmentFault):
        _write(_about(request), _ABOUT.dump_json(about).decode())


def _about(request: Request) -> Path:
    return request.prompt.with_name(f".{request.id}.about.json")


def _request(folder: Path, name: str) -> Request:
    return Request(name, folder / f"{name}{_PROMPT}", folder / f"{name}{_ANSWER}")


def _state(path: Path) -> tuple[int, int] | None:
    """Return size and time of change of what has a name; None if there is nothing, or nothing in it."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return (found.st_size, found.st_mtime_ns) if found.st_size or not stat.S_ISREG(found.st_mode) else None


# Files in a folder to which others may write, or could before it was opened: no link is followed.


def _found(path: Path) -> os.stat_result | None:
    """Return the state of a file of this user's; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found if _is_own_file(found) else None


def _is_own_file(found: os.stat_result) -> bool:
    """Return whether it is a regular file of this user's, under no second name elsewhere."""
    return stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_nlink == 1


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """Open a folder of this user's, which nobody else may use from now on.

    Raises:
        EnvironmentFault: If it is another user's.
        OSError: If it is a link, or no folder.
    """
    directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid():
            raise EnvironmentFault(
                f"the folder {folder} is of user {found.st_uid}: who owns it may answer with anything, and read all",
                remedy="Name a folder of your own: --model relay:FOLDER",
            )
        if found.st_mode & 0o077:
            os.fchmod(directory, 0o700)
        yield directory
    finally:
        os.close(directory)


def _read(path: Path) -> str:
    try:
        with _opened(path.parent) as directory, _opened_file(path, directory) as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise TransientProviderError(f"{path} cannot be read: {error.strerror}") from error
    if len(content) > _MAX_BYTES:
        raise about_the_text(f"{path.name} is longer than {_MAX_BYTES // 2**20} MiB")
    return to_valid_text(content.decode("utf-8", "replace"))


@contextlib.contextmanager
def _opened_file(path: Path, directory: int) -> Iterator[BinaryIO]:
    """Open a file in a folder; see `read_answer`."""
    foreign = about_the_text(f"{path.name} is no file of this user's")
    try:
        descriptor = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=directory)
    except OSError as error:
        raise foreign if error.errno in (errno.ELOOP, errno.ENXIO) else error from error  # a link, a socket
    try:
        if not _is_own_file(os.fstat(descriptor)):
            raise foreign
        with open(descriptor, "rb", closefd=False) as file:
            yield file
    finally:
        os.close(descriptor)


def _write(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all, whatever has its name now."""
    partial = f".{path.name}.{secrets.token_hex(8)}"
    with _opened(path.parent) as directory:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(partial, flags, 0o600, dir_fd=directory)
        with open(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "replace"))
        os.replace(partial, path.name, src_dir_fd=directory, dst_dir_fd=directory)
