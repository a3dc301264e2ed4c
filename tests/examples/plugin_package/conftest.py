"""The fixtures of `overnight.testing`."""

pytest_plugins = ["overnight.testing"]
