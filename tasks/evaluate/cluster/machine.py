"""A machine of a cluster: what it does for the head. Its functions are the tasks that the head gives it.

They take and return plain data, and never raise: whatever fails is told in the answer.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib import resources
from importlib.metadata import version
from typing import IO, Any, ParamSpec

from schemas.bundle import Source
from schemas.errors import OvernightError, SandboxUnavailable
from schemas.job import Job
from schemas.outcome import Outcome
from tasks.evaluate import delivery
from tasks.evaluate.cluster.heads import current_head, tasks_of
from tasks.evaluate.cluster.mailbox import HandedBack, Mailboxes
from tasks.evaluate.cluster.messages import (
    Answer,
    Exchange,
    Request,
    answer_bytes,
    read_job,
    read_source,
    verdict_fields,
)
from tasks.evaluate.pool import FreshContainerPool, SandboxPool, open_fresh_pool, open_pool
from tasks.evaluate.registry import create_backend
from tasks.evaluate.sandbox import ImageStore, SandboxBackend

_MAX_PARTS = 10_000
"""Limit on the number of parts of an image."""

_LOOK_S = 5.0
"""Seconds between two looks whether the heads of a job are there."""

_SILENT_LOOKS = 18
"""Looks in a row without a task from any head of a job, after which it is ended: a minute and a half."""

_MAX_SILENT = 16
"""Jobs of silent heads that can be opened again."""


@dataclass
class _OpenJob:
    """A job that is open on this machine.

    Attributes:
        request: What it was opened with.
        pool: Its containers.
        honest: A program that can be run.
        mailboxes: Programs that heads have sent.
        heads: Heads that use it.
        is_closed: Whether it was ended.
    """

    request: Request
    pool: SandboxPool | FreshContainerPool
    honest: Source
    mailboxes: Mailboxes = field(init=False)
    heads: set[str] = field(default_factory=set)
    is_closed: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.mailboxes = Mailboxes(lambda program: _verdict_on(self, program), self.request.slots)


@dataclass
class _Transfer:
    """An image that is arriving.

    Attributes:
        file: Its parts so far.
        parts: Their number.
    """

    file: IO[bytes]
    parts: int = 0


@dataclass
class _Machine:
    """Open jobs and arriving images of this machine.

    Attributes:
        jobs: The open jobs by their key.
        silent: Jobs that were ended since no head was heard of, by their key.
        images: Images that are arriving, by id.
        lock: Guards all of them.
        opening: Held while a job is opened, so that the same one is not opened twice.
    """

    jobs: dict[str, _OpenJob] = field(default_factory=dict)
    silent: dict[str, Request] = field(default_factory=dict)
    images: dict[str, _Transfer] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    opening: threading.Lock = field(default_factory=threading.Lock)


_MACHINE = _Machine()

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
    own = resources.files("tasks.evaluate.cluster")
    code = [own.joinpath(f"{name}.py").read_bytes() for name in ("heads", "machine", "mailbox", "messages")]
    build = hashlib.sha256(b"".join([delivery.modules_frame(), *code])).hexdigest()
    python = ".".join(platform.python_version_tuple()[:2])
    return {"Overnight": version("overnight"), "Python": python, "build": build[:12]}


def difference(theirs: Mapping[str, str]) -> str:
    """Return what a machine has in another version than this one; empty if there is nothing.

    Args:
        theirs: What `facts` returns there.
    """
    ours = facts()
    differ = [name for name in ours if theirs.get(name) != ours[name]]
    return "; ".join(f"it has {name} {theirs.get(name, 'unknown')}, the head {ours[name]}" for name in differ)


@_answers
def examine() -> Answer:
    """Tell what this machine is."""
    return Answer(facts=facts())


@_answers
def describe_engine(backend: str, image: str = "") -> Answer:
    """Tell which engine runs programs here, and whether it has an image.

    Args:
        backend: Name of the sandbox backend.
        image: Id of the image; empty to leave that out.
    """
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


@_answers
def open_job(text: str) -> Answer:
    """Open a job: start its containers, and evaluate a program in one, so that a machine without an engine is found.

    Args:
        text: The request, as JSON.
    """
    with _MACHINE.opening:
        return _open(Request.model_validate_json(text))


def _open(request: Request) -> Answer:
    with _MACHINE.lock:
        if (there := _MACHINE.jobs.get(request.key)) is not None:
            there.heads.add(current_head())
            return Answer()
    with contextlib.closing(create_backend(request.backend)) as backend:
        try:
            backend.image_id(request.image)
        except SandboxUnavailable as error:
            backend.describe()  # an engine that does not answer lacks nothing
            return Answer(fault=error.message, lacks_image=True)
        backend.require(request.image, request.runtime)
    job, honest = read_job(request.job), read_source(request.honest)
    opened = _OpenJob(request, _pool(request, job), honest)
    opened.heads.add(current_head())
    with contextlib.ExitStack() as unless_opened:
        unless_opened.callback(opened.pool.close)
        if not request.is_fresh and (fault := _fault_of(opened)):
            return Answer(fault=fault)
        unless_opened.pop_all()
    with _MACHINE.lock:
        _MACHINE.jobs[request.key] = opened
        _MACHINE.silent.pop(request.key, None)
    threading.Thread(target=_watch, args=(opened,), name="overnight-heads", daemon=True).start()
    return Answer()


def _watch(opened: _OpenJob) -> None:
    """End a job whose heads were not heard of for a while: they were killed, or have lost the cluster.

    Each head is given up by itself, so that one that was killed does not keep the job of another open.
    Looks are counted, not seconds, so that a machine that was frozen itself does not take this for silence.
    """
    looks, before = Counter[str](), Counter[str]()
    while not opened.is_closed.wait(_LOOK_S):
        with _MACHINE.lock:
            for head in list(opened.heads):
                heard = tasks_of([head])
                looks[head] = looks[head] + 1 if heard == before[head] else 0
                before[head] = heard
                if looks[head] >= _SILENT_LOOKS:
                    opened.heads.remove(head)
            if opened.heads:
                continue
            _MACHINE.silent[opened.request.key] = opened.request
            while len(_MACHINE.silent) > _MAX_SILENT:
                del _MACHINE.silent[next(iter(_MACHINE.silent))]
        _close(opened.request.key, "its head was silent")
        return


def _pool(request: Request, job: Job) -> SandboxPool | FreshContainerPool:
    start = open_fresh_pool if request.is_fresh else open_pool
    return start(
        job,
        image=request.image,
        backend=request.backend,
        slots=request.slots,
        labels=request.labels,
        runtime=request.runtime,
    )


def _fault_of(opened: _OpenJob) -> str:
    """Return why this machine cannot run the honest program; empty if it can."""
    verdict = opened.pool.evaluate(opened.honest)
    return verdict.error if verdict.outcome is Outcome.SANDBOX_ERROR else ""


@_answers
def exchange(text: str) -> Answer:
    """Start programs, and wait for verdicts.

    A machine that cannot run the honest program either hands programs back.

    Args:
        text: The exchange, as JSON.
    """
    message = Exchange.model_validate_json(text)
    opened = _job(message.job)
    return Answer(fault="the job is not open here") if opened is None else opened.mailboxes.exchange(message)


def _verdict_on(opened: _OpenJob, program: str) -> dict[str, Any]:
    """Return the verdict on a program as it is sent.

    Raises:
        HandedBack: If this machine cannot run the honest program either; the job is ended then.
    """
    try:
        verdict = opened.pool.evaluate(read_source(program))
        fault = _fault_of(opened) if verdict.outcome is Outcome.SANDBOX_ERROR else ""
    except _FAULTS as error:
        raise HandedBack(_reason(error)) from error
    if fault:
        _close(opened.request.key, fault)
        raise HandedBack(fault)
    return verdict_fields(verdict)


def _job(key: str) -> _OpenJob | None:
    """Return an open job; one that was ended since its head was silent is opened again, now that it speaks."""
    with _MACHINE.lock:
        opened, request = _MACHINE.jobs.get(key), _MACHINE.silent.get(key)
        if opened is not None:
            opened.heads.add(current_head())
    if opened is None and request is not None:
        with _MACHINE.opening:
            _open(request)
        with _MACHINE.lock:
            opened = _MACHINE.jobs.get(key)
    return opened


@_answers
def close_job(key: str) -> Answer:
    """End the containers of a job, unless another head uses them; of one that is being opened, once it is."""
    with _MACHINE.opening:
        with _MACHINE.lock:
            _MACHINE.silent.pop(key, None)
            if (opened := _MACHINE.jobs.get(key)) is not None:
                opened.heads.discard(current_head())
                if opened.heads:
                    return Answer()
        _close(key, "the job was ended")
    return Answer()


def _close(key: str, reason: str) -> None:
    with _MACHINE.lock:
        opened = _MACHINE.jobs.pop(key, None)
    if opened is not None:
        opened.is_closed.set()
        opened.mailboxes.close(reason)
        opened.pool.close()


def close_all() -> None:
    """End all containers."""
    for key in list(_MACHINE.jobs):
        _close(key, "the machine left the cluster")
    with _MACHINE.lock:
        _MACHINE.silent.clear()


@_answers
def take_image_part(backend: str, image: str, part: int, content: bytes, is_last: bool) -> Answer:
    """Take a part of an image; load the image after the last.

    Args:
        backend: Name of the sandbox backend.
        image: Id of the image.
        part: Number of the part, from 0; the first one begins anew.
        content: The part.
        is_last: Whether it is the last one.
    """
    with _MACHINE.lock:
        if part == 0:
            if image in _MACHINE.images:
                _MACHINE.images.pop(image).file.close()
            _MACHINE.images[image] = _Transfer(tempfile.TemporaryFile())  # noqa: SIM115  (stays open)
        arriving = _MACHINE.images.get(image)
        if arriving is None or part != arriving.parts or part > _MAX_PARTS:
            return Answer(fault=f"part {part} of an image did not follow those before")
        arriving.file.write(content)
        arriving.parts += 1
        if not is_last:
            return Answer()
        del _MACHINE.images[image]
        file = arriving.file
    with file, contextlib.closing(create_backend(backend)) as opened:
        if not isinstance(opened, ImageStore):
            return Answer(fault=f"the sandbox backend {backend} cannot take images")
        file.seek(0)
        opened.load_image(file)
        opened.image_id(image)
    return Answer()
