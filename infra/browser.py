"""Install Chromium for the tests of the report, which are skipped without a browser."""

from __future__ import annotations

import shutil

from debian import install, root_prefix
from steps import main, step

from overnight.tasks.evaluate.debian_image import is_debian, is_ubuntu

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def setup() -> None:
    """Install Debian's package unless there is a browser already.

    Ubuntu's package is a snap, which needs a daemon, so it is not installed.
    """
    with step("browser for the tests") as this:
        if found := next(filter(shutil.which, NAMES), None):
            this.outcome = f"found {found}"
        elif is_debian() and not is_ubuntu() and root_prefix() is not None:
            install(this, "chromium")
        else:
            this.outcome = f"found none of {', '.join(NAMES)}; tests that need a browser will be skipped"


if __name__ == "__main__":
    main(setup)
