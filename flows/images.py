"""Images for a problem's containers."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from flows.trust import require_trusted_sandbox
from schemas.problem import Problem
from schemas.settings import Sandbox
from tasks.evaluate import engine, images


def require_image_and_runtime(sandbox: Sandbox) -> None:
    """Require that the engine has the image and the runtime of the settings.

    Raises:
        EnvironmentFault: If the engine does not answer, or lacks one of them.
    """
    with contextlib.closing(engine.connect()) as docker:
        docker.require_image(sandbox.image)
        if sandbox.runtime is not None:
            docker.require_runtime(sandbox.runtime)


def image_of(problem: Problem, note: Callable[[str], None] = lambda _: None) -> str:
    """Return the name of a problem's image, the sandbox image with the problem's additions; build it if necessary.

    Args:
        problem: Problem with the packages and files to add.
        note: Function that takes a message about a step that takes long.

    Raises:
        UntrustedSettings: If the image, the runtime or a download is not accepted.
        SpecificationError: If a package does not exist, or the sandbox image's Python does not suit the problem.
        EnvironmentFault: If the image cannot be obtained.
    """
    require_trusted_sandbox(problem)
    image, needs = problem.settings.sandbox.image, problem.dependencies
    # Set-up has checked its own image.
    needs_no_check = image == Sandbox().image and not needs.packages and not needs.python
    if needs_no_check and not problem.files:
        return image
    with contextlib.closing(engine.connect()) as docker:
        if not needs_no_check:
            image = images.with_packages(docker, image, needs, note)
        if problem.files:
            image = images.with_files(docker, image, problem.files)
    return image
