"""Images for a problem's containers, of the sandbox backend that the settings name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from flows.trust import require_trusted_sandbox
from schemas.problem import Problem
from schemas.settings import Sandbox
from tasks.evaluate.registry import create_backend


def require_sandbox(sandbox: Sandbox) -> None:
    """Require that the backend of the settings exists and has their image and runtime.

    Raises:
        UsageError: If there is no such backend.
        EnvironmentFault: If the backend does not answer, or lacks one of them.
    """
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        backend.require(sandbox.image, sandbox.runtime)


def image_id(sandbox: Sandbox) -> str:
    """Return the id of the settings' image, which a run records.

    Raises:
        SandboxUnavailable: If the backend has no such image.
    """
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        return backend.image_id(sandbox.image)


def image_of(problem: Problem, note: Callable[[str], None] = lambda _: None) -> str:
    """Return the name of a problem's image, the sandbox image with the problem's additions; build it if necessary.

    Args:
        problem: Problem with the packages and files to add.
        note: Function that takes a message about a step that takes long.

    Raises:
        UntrustedSettings: If the backend, the image, the runtime or a download is not accepted.
        UsageError: If there is no such backend.
        SpecificationError: If a package does not exist, or the sandbox image's Python does not suit the problem.
        EnvironmentFault: If the image cannot be obtained.
    """
    require_trusted_sandbox(problem)
    sandbox = problem.settings.sandbox
    with contextlib.closing(create_backend(sandbox.backend)) as backend:
        return backend.prepare(sandbox.image, problem.dependencies, problem.files, note)
