"""The image that a problem's containers are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from flows.trust import require_trusted_sandbox
from schemas.problem import Problem
from schemas.settings import Sandbox
from tasks.evaluate import engine, images


def require(sandbox: Sandbox) -> None:
    """Makes sure that the engine has what the settings name.

    Raises:
        EnvironmentFault: If it does not answer, or lacks the image or the runtime.
    """
    with contextlib.closing(engine.connect()) as docker:
        docker.require_image(sandbox.image)
        if sandbox.runtime is not None:
            docker.require_runtime(sandbox.runtime)


def image_of(problem: Problem, note: Callable[[str], None] = lambda _: None) -> str:
    """Name of the image: the sandbox image with what the problem adds to it, made if there is none yet.

    Args:
        problem: Whose packages and files go in.
        note: Is told what takes long.

    Raises:
        UntrustedSettings: If the image, the runtime or a download is not accepted.
        SpecificationError: If there are no such packages, or the sandbox image's Python will not do.
        EnvironmentFault: If the image cannot be had.
    """
    require_trusted_sandbox(problem)
    image, needs = problem.settings.sandbox.image, problem.dependencies
    # Set-up has looked at its own image.
    is_known_to_do = image == Sandbox().image and not needs.packages and not needs.python
    if is_known_to_do and not problem.files:
        return image
    with contextlib.closing(engine.connect()) as docker:
        if not is_known_to_do:
            image = images.with_packages(docker, image, needs, note)
        if problem.files:
            image = images.with_files(docker, image, problem.files)
    return image
