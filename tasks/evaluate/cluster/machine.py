"""A machine of a cluster: what it does for the head. Its functions are the tasks that the head gives it.

They return plain data and never raise: whatever fails is told in the answer. A lease alone is an object, which stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from importlib import resources
from importlib.metadata import version
from typing import IO, ParamSpec

from overnight.schemas.errors import OvernightError, SandboxUnavailable
from overnight.schemas.outcome import Verdict
from overnight.tasks.evaluate import delivery
from overnight.tasks.evaluate.cluster.messages import (
    Answer,
    Request,
    answer_bytes,
    read_job,
    read_source,
    verdict_fields,
)
from overnight.tasks.evaluate.pool import open_fresh_pool, open_pool
from overnight.tasks.evaluate.registry import create_backend
from overnight.tasks.evaluate.sandbox import ImageStore, Sandbox, SandboxBackend

_MAX_PARTS = 10_000
"""Limit on the number of parts of an image."""


@dataclass
class _Transfer:
    """An image that is arriving: its parts so far, and their number."""

    file: IO[bytes]
    parts: int = 0


_JOBS: dict[str, Sandbox] = {}
"""The containers of the jobs that are open on this machine, by key."""

_IMAGES: dict[str, _Transfer] = {}
"""The images that are arriving, by id."""

_LOCK = threading.Lock()
"""Guards the images: several heads may send the same one."""

_FAULTS = (OvernightError, OSError, ValueError, TypeError, KeyError)
"""Errors that are told to the head."""

P = ParamSpec("P")


def _answers(task: Callable[P, Answer]) -> Callable[P, bytes]:
    """Make a task that answers in bytes, with a fault in place of an error."""

    @wraps(task)
    def answer(*args: P.args, **kwargs: P.kwargs) -> bytes:
        try:
            return answer_bytes(task(*args, **kwargs))
        except _FAULTS as error:
            return answer_bytes(Answer(fault=_reason(error)))

    return answer


def _reason(error: BaseException) -> str:
    return error.message if isinstance(error, OvernightError) else f"{type(error).__name__}: {error}"


def facts() -> dict[str, str]:
    """Return what must be the same on the head and on each machine."""
    own = resources.files("overnight.tasks.evaluate.cluster")
    code = [own.joinpath(f"{name}.py").read_bytes() for name in ("machine", "messages")]
    build = hashlib.sha256(b"".join([delivery.modules_frame(), *code])).hexdigest()
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Overnight": version("overnight"), "Python": python, "build": build[:12]}


def difference(theirs: Mapping[str, str]) -> str:
    """Return what a machine with these facts has in another version than this one; empty if there is nothing."""
    ours = facts()
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    return "; ".join(f"it has {name} {theirs.get(name, 'unknown')}, the head {ours[name]}" for name in differ)


@_answers
def examine() -> Answer:
    return Answer(facts=facts())


@_answers
def describe_engine(backend: str, image: str = "") -> Answer:
    """Tell which engine runs programs here, and whether it has an image, if one is named."""
    with contextlib.closing(create_backend(backend)) as opened:
        found = {"engine": opened.describe()}
        if image:
            found["image"] = "there" if _has_image(opened, image) else "missing"
        return Answer(facts=found)


def _has_image(backend: SandboxBackend, image: str) -> bool:
    try:
        backend.image_id(image)
    except SandboxUnavailable:
        return False
    return True


class Lease:
    """The result of a task, which the machine keeps for as long as a head holds it: the job is ended with it.

    Dask drops it when the head lets go of it, and when a head was killed or is cut off.
    """

    def __init__(self, key: str) -> None:
        self.key = key
        weakref.finalize(self, _end, key).atexit = False


def _end(key: str) -> None:
    """End a job in a thread of its own, since it takes a moment and Dask's event loop may let go of the lease."""
    if key in _JOBS:
        threading.Thread(target=_close, args=(key,), name="overnight-end").start()


@_answers
def open_job(lease: Lease, text: str) -> Answer:
    """Open the job of a request, for as long as the lease lasts.

    Start its containers, and evaluate a program in one, so that a machine without an engine is found.
    """
    request = Request.model_validate_json(text)
    with contextlib.closing(create_backend(request.backend)) as backend:
        try:
            backend.image_id(request.image)
        except SandboxUnavailable as error:
            backend.describe()  # an engine that does not answer lacks nothing
            return Answer(fault=error.message, lacks_image=True)
        backend.require(request.image, request.runtime)
    opened = _pool(request)
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(opened.close)
        if not request.is_fresh and (fault := opened.fault()):
            return Answer(fault=fault)
        unless_opened.pop_all()
    _JOBS[lease.key] = opened
    return Answer()


def _pool(request: Request) -> Sandbox:
    start = open_fresh_pool if request.is_fresh else open_pool
    return start(
        read_job(request.job),
        image=request.image,
        backend=request.backend,
        slots=request.slots,
        labels=request.labels,
        runtime=request.runtime,
    )


@_answers
def run(key: str, program: str) -> Answer:
    """Run a program once. A machine that cannot run the honest program either is at fault, and ends the job."""
    opened = _JOBS.get(key)
    if opened is None:
        return Answer(fault="the job is not open here")
    found = opened.run(read_source(program))
    if isinstance(found, Verdict):
        return Answer(verdict=verdict_fields(found))
    if fault := opened.fault():
        _close(key)
        return Answer(fault=fault)
    return Answer(lost=found.reason, out_of_memory=found.out_of_memory)


def _close(key: str) -> None:
    if (opened := _JOBS.pop(key, None)) is not None:
        opened.close()


def close_all() -> None:
    for key in list(_JOBS):
        _close(key)


@_answers
def take_image_part(backend: str, image: str, part: int, content: bytes, is_last: bool) -> Answer:
    """Take a part of an image, of which number 0 begins anew; load the image after the last."""
    with _LOCK:
        if part == 0:
            if image in _IMAGES:
                _IMAGES.pop(image).file.close()
            _IMAGES[image] = _Transfer(tempfile.TemporaryFile())  # noqa: SIM115  (stays open)
        arriving = _IMAGES.get(image)
        if arriving is None or part != arriving.parts or part > _MAX_PARTS:
            return Answer(fault=f"part {part} of an image did not follow those before")
        arriving.file.write(content)
        arriving.parts += 1
        if not is_last:
            return Answer()
        del _IMAGES[image]
        file = arriving.file
    with file, contextlib.closing(create_backend(backend)) as opened:
        if not isinstance(opened, ImageStore):
            return Answer(fault=f"the sandbox backend {backend} cannot take images")
        file.seek(0)
        opened.load_image(file)
        opened.image_id(image)
    return Answer()
