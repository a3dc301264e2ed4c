"""The image that a problem's containers are made of."""

from __future__ import annotations

import contextlib

from schemas.problem import Problem
from tasks.evaluate import engine, images


def image_of(problem: Problem) -> str:
    """Name of the image; it is made if the problem adds something to its sandbox image and there is none yet.

    Raises:
        SandboxUnavailable: If it cannot be had.
    """
    base = problem.settings.sandbox.image
    if not problem.files:
        return base
    with contextlib.closing(engine.connect()) as docker:
        return images.with_files(docker, base, problem.files)
