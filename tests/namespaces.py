"""Network namespaces of the tests' own, each a machine whose cable can be pulled out. Only root can make them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

_SUBNET = "198.18.77"
"""Addresses for tests of networks (RFC 2544), which nothing outside answers."""

_CABLE = "cable"
"""The inner end of a machine's pair of interfaces."""


class Network:
    """A bridge, at whose address this machine is, and namespaces that are connected to it."""

    address = f"{_SUBNET}.1"

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._prefix = f"on{os.getpid()}"
        self._namespaces: dict[str, str] = {}
        bridge = f"{self._prefix}b"
        self._add("link", "add", bridge, "type", "bridge", undo=("link", "del", bridge))
        _ip("addr", "add", f"{self.address}/24", "dev", bridge)
        _ip("link", "set", bridge, "up")
        self._bridge = bridge

    def connect(self, name: str) -> None:
        """Create a namespace, and connect it to the bridge."""
        number = len(self._namespaces) + 1
        namespace, outer = f"{self._prefix}-{name}", f"{self._prefix}v{number}"
        self._namespaces[name] = namespace
        self._add("netns", "add", namespace, undo=("netns", "del", namespace))
        pair = ("link", "add", outer, "type", "veth", "peer", "name", _CABLE, "netns", namespace)
        self._add(*pair, undo=("link", "del", outer))
        _ip("link", "set", outer, "master", self._bridge, "up")
        _ip("-n", namespace, "addr", "add", f"{_SUBNET}.{number + 1}/24", "dev", _CABLE)
        _ip("-n", namespace, "link", "set", "lo", "up")
        self.plug_in(name)

    def plug_in(self, name: str) -> None:
        """Let packets of a namespace through again."""
        _ip("-n", self._namespaces[name], "link", "set", _CABLE, "up")

    def cut_off(self, name: str) -> None:
        """Lose all packets of a namespace, without an error for those who send them."""
        _ip("-n", self._namespaces[name], "link", "set", _CABLE, "down")

    def inside(self, name: str) -> list[str]:
        """Return the beginning of a command that runs in a namespace."""
        return ["ip", "netns", "exec", self._namespaces[name]]

    def close(self) -> None:
        self._stack.close()

    def _add(self, *arguments: str, undo: tuple[str, ...]) -> None:
        _ip(*arguments)
        self._stack.callback(_ip, *undo)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """A network without namespaces; the test is skipped where none can be made."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can make network namespaces, with `ip` of iproute2")
    try:
        made = Network()
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
    try:
        yield made
    finally:
        made.close()
