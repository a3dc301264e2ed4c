"""Find or build the sandbox image, as `overnight doctor --fix` does, and install what builds it of Debian packages.

Run with the environment's Python when the engine answers: `.venv/bin/python infra/image.py`.
"""

from __future__ import annotations

import os
import shutil

import debian
import engine
from steps import SetupError, Step, main, step

from overnight.schemas.errors import EnvironmentFault
from overnight.tasks.evaluate.debian_image import is_debian
from overnight.tasks.evaluate.sandbox_image import default_sources, ensure_image


def set_up() -> None:
    """Find or build the sandbox image."""
    host = engine.find()
    if host is None:
        raise SetupError("a Docker engine that answers", "none does", "make setup")
    os.environ["DOCKER_HOST"] = host
    with step("sandbox image") as this:
        try:
            this.outcome = f"{find_or_build(this)} ready"
        except EnvironmentFault as fault:
            raise SetupError("the sandbox image", fault.message, f"{fault.remedy} (set-up: make setup)") from None


def find_or_build(this: Step) -> str:
    """Return the image's name; mmdebstrap is installed only where no registry provides the base."""
    *others, last = default_sources()
    if last != "debian" or shutil.which("mmdebstrap") or not is_debian():
        return ensure_image(this.note)
    if others:
        try:
            return ensure_image(this.note, others)
        except EnvironmentFault as fault:
            this.note(fault.message)
    debian.install(this, "mmdebstrap")
    return ensure_image(this.note, [last])


if __name__ == "__main__":
    main(set_up)
