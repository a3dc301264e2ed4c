"""Define the seam of the sandbox: the protocols of a sandbox, of the channel to a runner, and of a backend that starts
runners.

A fault of the sandbox is never one of the program: `evaluate_with_retry` tells which it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Protocol, runtime_checkable

from overnight.schemas.bundle import Source
from overnight.schemas.dependencies import Dependencies
from overnight.schemas.errors import SandboxUnavailable
from overnight.schemas.files import File
from overnight.schemas.job import Job
from overnight.schemas.outcome import QUESTION_REFUSED, Outcome, Verdict


class Sandbox(Protocol):
    """Judge of programs. Every implementation passes `tests/contract/test_sandbox.py`."""

    def evaluate(self, source: Source) -> Verdict:
        """Judge one program, and wait for the verdict.

        Thread-safe. It returns exactly one verdict, whatever dies: a candidate whose container was lost is run once
        more, and is a `sandbox_error` if that fails, too.

        Args:
            source: The whole program: the skeleton with the candidate's body in place.
        """
        ...

    def close(self) -> None:
        """End every container; evaluations in progress become `sandbox_error`."""
        ...


def evaluate_with_retry(sandbox: Sandbox, source: Source, *, honest: Source) -> Verdict:
    """Evaluate a program; return `sandbox_error` only if it failed twice, and again after another program has run.

    Args:
        sandbox: Sandbox that runs the program.
        source: The program.
        honest: A program that this sandbox has run before, such as the start program. If it cannot be run
            either, the sandbox is at fault, and no program is judged.

    Raises:
        SandboxUnavailable: If the sandbox is at fault.
    """
    verdict = sandbox.evaluate(source)
    if verdict.outcome is Outcome.SANDBOX_ERROR and verdict != QUESTION_REFUSED:
        verdict = sandbox.evaluate(source)
    if verdict.outcome is not Outcome.SANDBOX_ERROR or verdict == QUESTION_REFUSED:
        return verdict  # a question that is refused says nothing of the sandbox
    if sandbox.evaluate(honest).outcome is Outcome.SANDBOX_ERROR:
        raise SandboxUnavailable(
            f"no candidate can be run: {verdict.error}", remedy="`overnight doctor` says what is wrong."
        )
    return sandbox.evaluate(source)  # the engine may have come back just before the other program ran


@dataclass(frozen=True)
class Death:
    """Reason why a runner ended.

    Attributes:
        reason: Description of the reason.
        out_of_memory: Whether the kernel ended the whole container because memory ran out.
    """

    reason: str
    out_of_memory: bool = False


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
