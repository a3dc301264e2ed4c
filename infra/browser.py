"""Chromium, which the tests of the report read it with. Where it cannot be had, those tests are skipped and say so."""

from __future__ import annotations

import shutil

from debian import as_root, install, is_debian, is_ubuntu
from steps import main, step

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def setup() -> None:
    """Install Debian's package unless there is a browser already. Ubuntu's is a snap, which needs a daemon."""
    with step("browser for the tests") as this:
        if found := next(filter(shutil.which, NAMES), None):
            this.outcome = f"{found} is there"
        elif is_debian() and not is_ubuntu() and as_root() is not None:
            install(this, "chromium")
        else:
            this.outcome = f"none of {', '.join(NAMES)} is there; its tests will be skipped"


if __name__ == "__main__":
    main(setup)
