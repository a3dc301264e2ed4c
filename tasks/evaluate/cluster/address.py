"""The address of a cluster, and the files of its members."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.errors import UsageError


@dataclass(frozen=True)
class Address:
    """Address at which the scheduler of a cluster listens.

    Attributes:
        url: The address, such as `tls://head:8786`.
        is_encrypted: Whether only members with a certificate may connect.
    """

    url: str
    is_encrypted: bool


@dataclass(frozen=True)
class Certificates:
    """Files of a member of an encrypted cluster: its CA, its certificate and its key."""

    ca: str
    certificate: str
    key: str


def parse_address(text: str) -> Address:
    """Parse the address of a cluster: `HOST:PORT`, `tls://HOST:PORT`, or `tcp://` on loopback.

    Raises:
        UsageError: If it is none, or without encryption for another machine.
    """
    scheme, separator, rest = text.rpartition("://")
    host, _, port = rest.rpartition(":")
    if not host or not port.isdigit() or scheme not in ("", "tcp", "tls") or (separator and not scheme):
        raise UsageError(
            f"expected the address of a cluster, such as tls://head:8786, got {text!r}",
            remedy="`overnight cluster start` prints it.",
        )
    is_here = host in ("127.0.0.1", "localhost", "[::1]")
    if scheme == "tcp" and not is_here:
        raise UsageError(
            f"expected an encrypted address, got {text!r}: tcp:// is for this machine alone",
            remedy=f"Name it tls://{rest}; `overnight cluster init` makes the certificates.",
        )
    is_encrypted = scheme == "tls" or not (scheme or is_here)
    return Address(f"{'tls' if is_encrypted else 'tcp'}://{rest}", is_encrypted)
