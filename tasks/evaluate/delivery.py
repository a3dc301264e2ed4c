"""Data sent to a runner, and the stream that comes back: the command that starts it, the frames that set it up for a
job, requests, and the parsers of the container's output.
"""

from __future__ import annotations

import base64
import json
import random
import re
import struct
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from typing import Any

from overnight.schemas.bundle import Source
from overnight.schemas.errors import SpecificationError
from overnight.schemas.job import Job
from overnight.tasks.evaluate.runner import codec, frames

_MODULES = (
    *("frames", "asking", "seccomp", "lockdown", "codec", "rpc", "svg", "notes", "program", "command", "processes"),
    *("starvation", "supervisor", "job", "child", "scratch", "stand_in", "own_process", "call_check"),
    *("scoring", "shared_files", "isolated", "fork_server"),
)
"""Modules of the runner, in the order of their imports; the last one is the entry point."""

ENVIRONMENT = {
    # The same order of sets of strings in every candidate. `-P -s` below respects this; `-I` would not.
    "PYTHONHASHSEED": "0",
    # An arena for each thread would take 64 MiB of address space, which is limited.
    "MALLOC_ARENA_MAX": "1",
    # A second thread would only wait for the slot's single core, and take 30 MiB of address space.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "LANG": "C.UTF-8",
}

IDLE_S = 1800.0
"""Seconds without a candidate after which a runner exits; the next candidate starts a new one."""

_USERS_PER_SLOT = 1000
"""Number of user ids of one slot. No other slot uses them, so that limits which the kernel counts per user are not
shared."""

_STREAM = struct.Struct(">BxxxL")
"""Header of every piece of an attached container's output: number of the stream, and length of the piece."""

_STDOUT, _STDERR = 1, 2

MAX_FRAME = 64 * 2**20
"""Maximum length of a frame, bytes. A runner caps its answers, so a longer frame means that the stream is broken."""

_NUMPY = re.compile(r"\b(np|numpy)\b")
"""Mention of numpy in a program, which has it as `np` without importing it."""


@cache
def arguments() -> tuple[str, ...]:
    """Return the arguments of `python3`: no working directory in the path, no user site, and always UTF-8."""
    return "-P", "-s", "-X", "utf8", "-c", _source("bootstrap")


@cache
def modules_frame() -> bytes:
    """Return the first frame: the runner's modules, so that host and runner always have the same version."""
    return frames.frame(json.dumps([(name, _source(name)) for name in _MODULES]).encode())


def job_frame(job: Job, *, own_users: bool = True) -> bytes:
    """Return the second frame: all that the candidates of a job share, sent once for each container.

    For isolated evaluation a third frame follows with the inputs, which the runner's own process never reads.

    Args:
        job: Job of the container.
        own_users: Whether each candidate gets its own user id.

    Raises:
        SpecificationError: If the inputs are not plain data.
    """
    fields = job_fields(job)
    inputs = fields["inputs"]
    sent = fields | {
        "inputs": [] if job.is_isolated else inputs,
        "count": len(inputs),
        "cpu_s": cpu_limit(job),
        "first_uid": random.SystemRandom().randrange(1, 2_000_000) * _USERS_PER_SLOT,
        "uids": _USERS_PER_SLOT if own_users else 0,
        "idle_s": IDLE_S,
    }
    isolation = frames.frame(json.dumps(inputs).encode()) if job.is_isolated else b""
    return frames.frame(json.dumps(sent).encode()) + isolation


def job_fields(job: Job) -> dict[str, Any]:
    """Return a job as JSON, the form in which it is sent to containers and to machines; without its honest program.

    Raises:
        SpecificationError: If the inputs are not plain data.
    """
    fields = asdict(replace(job, inputs=(), honest=None))
    return fields | {"limits": job.limits.model_dump(), "inputs": _inputs(job)}


def request(number: int, source: Source, job: Job) -> bytes:
    """Return one candidate's request; text that is not valid UTF-8 only fails when the child compiles it."""
    program = _program_bytes(source, job)
    text = source if isinstance(source, str) else source.main
    return frames.REQUEST.pack(number, len(program), _mentions_numpy(text, job)) + program


def _program_bytes(source: Source, job: Job) -> bytes:
    """Return a program as its runner reads it: the text of the only file, or all files as a JSON object by path.

    Raises:
        ValueError: If the job's programs have other files.
    """
    if job.command is None or not job.command.files:
        text = source if isinstance(source, str) else source.main
        return text.encode("utf-8", "surrogatepass")
    paths = () if isinstance(source, str) else source.paths
    if isinstance(source, str) or paths != job.command.files:
        raise ValueError(f"got a program of the files {paths}, expected {job.command.files}")
    return json.dumps(dict(source.files)).encode()


def _mentions_numpy(source: str, job: Job) -> bool:
    """Return whether any of its processes may use numpy; programs started by a command import numpy themselves."""
    texts = (source, job.isolation.specification) if job.isolation else (source,)
    return not job.command and any(_NUMPY.search(text) for text in texts)


def cpu_limit(job: Job) -> float:
    """Return the limit of a candidate's processor time for all inputs together, seconds."""
    limits = job.limits
    return limits.cpu_s if limits.cpu_s is not None else limits.wall_s * max(1, len(job.inputs))


def _inputs(job: Job) -> list[str]:
    encoded = []
    for position, call in enumerate(job.inputs, start=1):
        try:
            encoded.append(base64.b64encode(codec.dumps((call.args, call.kwargs))).decode())
        except (TypeError, ValueError) as error:
            raise SpecificationError(
                f"input {position} of {len(job.inputs)} ({call}): {error}",
                remedy="Inputs are plain data: numbers, text, lists and dictionaries.",
            ) from error
    return encoded


def _source(name: str) -> str:
    return resources.files("overnight.tasks.evaluate.runner").joinpath(f"{name}.py").read_text(encoding="utf-8")


def read_question(frame: bytes) -> tuple[str, int] | None:
    """Return the text of a question and the position of its input, from 1; `None` for another frame of a runner.

    Runners write it, and no candidate can.
    """
    if not frame.startswith(b'{"question": '):
        return None
    found = json.loads(frame)
    return found["question"], found["input"]


class WireFault(Exception):
    """The stream is not in the format of the engine or the runner."""


class Demultiplexer:
    """Demultiplexer of an attached container's output into standard output and standard error."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Return the data that `data` completes of standard output and of standard error.

        Args:
            data: Next piece from the socket, of any length.

        Raises:
            WireFault: If it is not the output of a container without a terminal.
        """
        self._buffer += data
        streams: dict[int, bytearray] = {_STDOUT: bytearray(), _STDERR: bytearray()}
        while len(self._buffer) >= _STREAM.size:
            stream, length = _STREAM.unpack_from(self._buffer)
            if stream not in streams:
                raise WireFault(f"expected a piece of stream 1 or 2, got stream {stream}")
            end = _STREAM.size + length
            if len(self._buffer) < end:
                break
            streams[stream] += self._buffer[_STREAM.size : end]
            del self._buffer[:end]
        return bytes(streams[_STDOUT]), bytes(streams[_STDERR])


class FrameBuffer:
    """Buffer that assembles frames from pieces of a stream."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        self._buffer += data

    def take(self) -> bytes | None:
        """Return the next frame, or None if it is not complete yet.

        Raises:
            WireFault: If its declared length exceeds `MAX_FRAME`.
        """
        if len(self._buffer) < frames.LENGTH.size:
            return None
        (length,) = frames.LENGTH.unpack_from(self._buffer)
        if length > MAX_FRAME:
            raise WireFault(f"expected a frame of at most {MAX_FRAME} bytes, got one of {length}")
        end = frames.LENGTH.size + length
        if len(self._buffer) < end:
            return None
        data = bytes(self._buffer[frames.LENGTH.size : end])
        del self._buffer[:end]
        return data
