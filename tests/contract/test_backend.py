"""Our sandbox backends pass the contract; `test_sandbox.py` and `test_split.py` judge many more programs with them."""

from __future__ import annotations

from overnight.testing.sandboxes import SandboxContract


class TestBackends(SandboxContract):
    """All that come with Overnight."""
