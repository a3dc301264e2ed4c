from __future__ import annotations

import os

import pytest


@pytest.fixture(scope="session")
def sandbox_image() -> str:
    return os.environ.get("OVERNIGHT_TEST_IMAGE", "overnight-sandbox")
