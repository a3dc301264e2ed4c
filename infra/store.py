"""Ceph's S3 gateway, with which the tests keep histories on object storage, on this machine and without a cluster.

Where it cannot be had, those tests are skipped and say so.
"""

from __future__ import annotations

import shutil

from debian import as_root, install, is_debian
from steps import main, step

NAME = "radosgw"


def setup() -> None:
    """Install Debian's package unless it is there already."""
    with step("S3 server for the tests") as this:
        if shutil.which(NAME):
            this.outcome = f"{NAME} is there"
        elif is_debian() and as_root() is not None:
            install(this, NAME)
        else:
            this.outcome = f"{NAME} is not there; its tests will be skipped"


if __name__ == "__main__":
    main(setup)
