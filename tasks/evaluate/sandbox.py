"""Define the seam of the sandbox: the judge of programs, the protocol of the channel to a runner, and that of a backend
that starts runners.

A fault of the sandbox is never one of the program: `Sandbox.evaluate` tells which it is.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol, runtime_checkable

from overnight.schemas.bundle import Source
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.job import Job
from overnight.schemas.outcome import Outcome, Verdict

MAX_SOURCE = 2**20
"""Maximum length of a program, characters; a longer one is not run."""

MAX_RUNS = 3
"""Runs of one program that come to no verdict, after which it is a `sandbox_error`."""

_ERROR_CHARS = 2000


@dataclass(frozen=True)
class Death:
    """Reason why a runner ended, or why a run of a program came to no verdict.

    Attributes:
        reason: Description of the reason.
        out_of_memory: Whether the kernel ended the whole container because memory ran out.
    """

    reason: str
    out_of_memory: bool = False


class Sandbox(ABC):
    """Judge of the programs of one job. Every implementation passes `tests/contract/test_sandbox.py`.

    Attributes:
        job: The job that programs are evaluated on; other inputs need another sandbox.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._closing = threading.Event()

    def evaluate(self, source: Source) -> Verdict:
        """Judge one program, and wait for the verdict. Thread-safe.

        It returns exactly one verdict, whatever dies. A run that is lost with its container or machine, or is starved,
        is repeated: at most `MAX_RUNS` runs, and before the last one the job's honest program has to run. Above this,
        only a night's generations try again, after a while.

        Args:
            source: The whole program: the skeleton with the candidate's body in place.

        Raises:
            SandboxUnavailable: If the honest program cannot be run either: the sandbox is at fault.
            OvernightError: If a question of the scoring is not answered now, and a later attempt may be.
        """
        if (too_long := _verdict_on_length(source)) is not None:
            return too_long
        deaths = list[Death]()
        while not self._closing.is_set() and len(deaths) < MAX_RUNS and not _ran_out_of_memory(deaths):
            if len(deaths) == MAX_RUNS - 1:
                self._require_honest(deaths[-1])
            found = self.run(source)
            if isinstance(found, Verdict):
                return found
            deaths.append(found)
        return self._verdict_on_deaths(deaths)

    def _verdict_on_deaths(self, deaths: Sequence[Death]) -> Verdict:
        """Return the verdict on a program that came to none by itself."""
        if _ran_out_of_memory(deaths):
            limit = self.job.limits.memory_mib
            return Verdict(Outcome.OUT_OF_MEMORY, error=f"used more than {limit} MiB, and its container was ended")
        if self._closing.is_set():
            return Verdict(Outcome.SANDBOX_ERROR, error="the sandbox was closed")
        reasons = dict.fromkeys(death.reason for death in deaths)
        return Verdict(Outcome.SANDBOX_ERROR, error="; ".join(reasons)[:_ERROR_CHARS])

    def _require_honest(self, death: Death) -> None:
        if self.fault() and not self._closing.is_set():
            raise SandboxUnavailable(
                f"no candidate can be run: {death.reason}", remedy="`overnight doctor` says what is wrong."
            )

    def fault(self) -> str:
        """Return why the honest program of the job cannot be run; empty if it can, or if there is none."""
        found = None if self.job.honest is None else self.run(self.job.honest)
        return found.reason if isinstance(found, Death) else ""

    @abstractmethod
    def run(self, source: Source) -> Verdict | Death:
        """Run a program once; return its verdict, or why there is none. Thread-safe.

        Raises:
            SandboxUnavailable: If no program can be run for a while.
            OvernightError: As for `evaluate`.
        """

    @abstractmethod
    def close(self) -> None:
        """End every container; evaluations in progress become `sandbox_error`."""


def _ran_out_of_memory(deaths: Sequence[Death]) -> bool:
    """Return whether two containers ran out of memory; in one, memory of an earlier program may have counted."""
    return sum(death.out_of_memory for death in deaths) > 1


def _verdict_on_length(source: Source) -> Verdict | None:
    """Return the verdict on a program that is too long to be run; `None` for any other."""
    chars = len(source) if isinstance(source, str) else source.chars
    if chars <= MAX_SOURCE:
        return None
    return Verdict(Outcome.CRASHED, error=f"the program has {chars} characters, at most {MAX_SOURCE} are run")


class Channel(Protocol):
    """Standard input and output of a started runner, as seen from the host. For one thread at a time.

    Only `close` may be called from another thread; calls in progress then end as if the runner had died.
    """

    def send(self, data: bytes, *, timeout_s: float) -> None:
        """Send all data.

        Raises:
            OSError: If the runner or the engine is gone; TimeoutError if the runner does not read.
        """
        ...

    def receive(self, *, timeout_s: float) -> bytes:
        """Return the next piece of the runner's standard output; empty at its end.

        Raises:
            OSError: As for `send`.
        """
        ...

    def death(self, *, since_s: float) -> Death:
        """Return why the runner ended, as far as is known.

        Args:
            since_s: Time at which the last candidate was sent, seconds since 1970.
        """
        ...

    def close(self) -> None:
        """End the runner and its descendants. It may be called more than once."""
        ...


@dataclass(frozen=True)
class RunnerConfig:
    """Settings that all runners of a pool share.

    Attributes:
        image: Name of an image, as `SandboxBackend.prepare` returned it.
        memory_mib: Memory limit of a candidate, MiB.
        labels: Labels by which the backend can find what it started; `overnight.run` names the run.
        runtime: Runtime that the backend has; None for its default.
        scratch_mib: Size of a candidate's only writable directory, MiB; 0 for none. Its files count as memory.
        may_execute: Whether programs may be started, including files in scratch.
    """

    image: str
    memory_mib: int
    labels: Mapping[str, str] = field(default_factory=dict)
    runtime: str | None = None
    scratch_mib: int = 0
    may_execute: bool = False


def runner_config(job: Job, image: str, labels: Mapping[str, str] | None, runtime: str | None) -> RunnerConfig:
    """Return the settings of the runners of a job."""
    limits = job.limits
    return RunnerConfig(
        image=image,
        # Isolated evaluation has two processes, each with the limit for itself.
        memory_mib=limits.memory_mib * (2 if job.is_isolated else 1),
        labels=dict(labels or {}),
        runtime=runtime,
        scratch_mib=limits.scratch_mib,
        may_execute=job.command is not None,
    )


class SandboxBackend(Protocol):
    """Way to run the runner apart from the host, such as containers of an engine. Thread-safe.

    A backend connects to what it controls at the first call that needs it, so that making one costs nothing. Every
    implementation passes `tests/contract/test_backend.py`, and its pools pass `tests/contract/test_sandbox.py`.
    """

    @property
    def own_users(self) -> bool:
        """Whether its runners have the right to give each candidate a user id of its own."""
        ...

    def describe(self) -> str:
        """Return the name and version of what runs programs, and its number of cores and memory, on one line.

        Raises:
            SandboxUnavailable: If it does not answer.
        """
        ...

    def image_id(self, image: str) -> str:
        """Return the id of an image, which a run records; the same id means the same content.

        Raises:
            SandboxUnavailable: If there is no image of this name, or the backend does not answer.
        """
        ...

    def require(self, image: str, runtime: str | None) -> None:
        """Check that runners can be started.

        Args:
            image: Name of an image.
            runtime: Name of a runtime; None for the default.

        Raises:
            SandboxUnavailable: If the image or the runtime is missing, or the backend does not answer.
        """
        ...

    def prepare(
        self, image: str, dependencies: Dependencies, files: Sequence[File], note: Callable[[str], None]
    ) -> str:
        """Return the name of an image with a problem's packages and files; make it if it does not exist.

        Args:
            image: Name of the image to add them to, `sandbox.image`.
            dependencies: Packages and versions of Python that the problem requires.
            files: Files in a program's working directory, read-only.
            note: Called with a message before each slow step.

        Raises:
            SpecificationError: If the packages or files cannot be had, by this backend or at all.
            EnvironmentFault: If the image cannot be made now.
        """
        ...

    def remove_leftovers(self) -> int:
        """Remove what processes that are gone have started; return how many runners that were.

        Raises:
            SandboxUnavailable: If the backend does not answer.
        """
        ...

    def start(self, config: RunnerConfig) -> Channel:
        """Start `python3` with `delivery.arguments()` and `delivery.ENVIRONMENT`; return the channel to it.

        The runner ends when its standard input closes, so also when this process dies.

        Raises:
            SandboxUnavailable: If it cannot be started, or this backend is closed.
        """
        ...

    def close(self) -> None:
        """Disconnect, and remove what is left of the runners that it started; calling it again does nothing."""
        ...


@runtime_checkable
class ImageStore(Protocol):
    """Backend whose images can be sent to other machines."""

    def save_image(self, image: str) -> Iterator[bytes]:
        """Yield an image as an archive, in pieces.

        Raises:
            SandboxUnavailable: If there is no such image, or the backend does not answer.
        """
        ...

    def load_image(self, archive: IO[bytes]) -> None:
        """Load the archive of an image; it has the id that it had.

        Raises:
            SandboxUnavailable: If it cannot be loaded.
        """
        ...
