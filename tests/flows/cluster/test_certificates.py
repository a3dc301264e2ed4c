"""Certificates of a cluster: its members accept each other and nobody else, and no key can be read by others."""

from __future__ import annotations

import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from overnight.flows.cluster import certificates
from overnight.flows.cluster.certificates import cluster_folder, create_certificates, expires, member_files
from overnight.schemas.errors import EnvironmentFault, UsageError

INIT = "overnight cluster init"
COPY = "copy member.pem and member.key of the head's folder"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The certificates of a cluster."""
    create_certificates(tmp_path / "cluster")
    return tmp_path / "cluster"


def context(folder: Path, purpose: ssl.Purpose, *, shows_certificate: bool = True) -> ssl.SSLContext:
    """The TLS settings of dask.distributed, and the strict checks that Python 3.13 makes by default."""
    created = ssl.create_default_context(purpose, cafile=str(folder / "member.pem"))
    created.check_hostname = False
    created.verify_mode = ssl.CERT_REQUIRED
    created.verify_flags |= ssl.VERIFY_X509_STRICT
    if shows_certificate:
        created.load_cert_chain(folder / "member.pem", folder / "member.key")
    return created


def serve(listener: socket.socket, tls: ssl.SSLContext) -> str:
    """Accept one connection and greet; return the error if there is one."""
    connection, _ = listener.accept()
    try:
        with connection, tls.wrap_socket(connection, server_side=True) as secured:
            secured.sendall(b"welcome")
    except (ssl.SSLError, ConnectionError) as error:
        return str(error)
    return ""


def connect(port: int, tls: ssl.SSLContext) -> str:
    """Connect and return the greeting, or the error."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain, tls.wrap_socket(plain) as secured:
            return secured.recv(100).decode()
    except (ssl.SSLError, ConnectionError) as error:
        return f"refused: {error}"


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[str, str]:
    """Return the error of the server, and what the client received."""
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        listener.settimeout(10)
        served = thread.submit(serve, listener, server)
        received = connect(listener.getsockname()[1], client)
        return served.result(), received


def test_members_of_one_cluster_accept_each_other(folder: Path):
    server, client = context(folder, ssl.Purpose.CLIENT_AUTH), context(folder, ssl.Purpose.SERVER_AUTH)
    assert handshake(server, client) == ("", "welcome")


def test_a_member_of_another_cluster_is_refused_by_both_ends(folder: Path, tmp_path: Path):
    create_certificates(tmp_path / "other")
    own_server = context(folder, ssl.Purpose.CLIENT_AUTH)
    stranger = context(tmp_path / "other", ssl.Purpose.SERVER_AUTH)
    refusal, received = handshake(own_server, stranger)
    assert refusal
    assert received.startswith("refused: ")
    # The stranger refused first. One that accepts any server is refused by the server.
    stranger.verify_mode = ssl.CERT_NONE
    refusal, received = handshake(own_server, stranger)
    assert "certificate verify failed" in refusal
    assert received != "welcome"
    # A server that asks for no certificate is refused by the client.
    server = context(tmp_path / "other", ssl.Purpose.CLIENT_AUTH)
    server.verify_mode = ssl.CERT_NONE
    assert "certificate verify failed" in handshake(server, context(folder, ssl.Purpose.SERVER_AUTH))[1]


def test_a_client_without_a_certificate_is_refused(folder: Path):
    nobody = context(folder, ssl.Purpose.SERVER_AUTH, shows_certificate=False)
    refusal, received = handshake(context(folder, ssl.Purpose.CLIENT_AUTH), nobody)
    assert "peer did not return a certificate" in refusal
    assert received != "welcome"


def test_the_certificate_is_for_both_ends_and_is_valid_for_five_years(folder: Path):
    member = x509.load_pem_x509_certificate((folder / "member.pem").read_bytes())
    both = {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(member.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == both
    now = datetime.now(UTC)
    assert abs(expires(folder) - now - timedelta(days=365.25 * 5)) < timedelta(days=2)
    assert member.not_valid_before_utc < now - timedelta(hours=1)  # for a machine whose clock is slow


def test_only_the_owner_reads_the_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    modes = dict[str, int]()

    def record(path: Path, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        opened = os_open(path, flags, mode, dir_fd=dir_fd)
        if flags & os.O_CREAT:
            modes[Path(path).name] = os.fstat(opened).st_mode & 0o777
        return opened

    os_open = os.open
    previous = os.umask(0)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(certificates.os, "open", record)
            create_certificates(tmp_path / "cluster")
    finally:
        os.umask(previous)
    assert modes == {"member.pem": 0o644, "member.key": 0o600}
    assert {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "cluster").iterdir()} == modes
    assert (tmp_path / "cluster").stat().st_mode & 0o777 == 0o700


def test_an_empty_folder_is_filled_and_closed(tmp_path: Path):
    (tmp_path / "cluster").mkdir(mode=0o755)
    create_certificates(tmp_path / "cluster")
    assert (tmp_path / "cluster").stat().st_mode & 0o777 == 0o700
    assert member_files(tmp_path / "cluster").key == tmp_path / "cluster/member.key"


def test_existing_certificates_are_kept(folder: Path):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(UsageError, match=r"with member\.key, member\.pem") as caught:
        create_certificates(folder)
    assert f"rm -r {folder}" in caught.value.remedy
    assert "every machine" in caught.value.remedy
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_nothing_half_made_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full_disk(*_: object) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(certificates, "_certificate", full_disk)
    with pytest.raises(EnvironmentFault, match="No space left on device") as caught:
        create_certificates(tmp_path / "cluster")
    assert "OVERNIGHT_CLUSTER_CERTIFICATES" in caught.value.remedy
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["member.pem", "member.key"])
def test_a_missing_file_is_named(folder: Path, name: str):
    (folder / name).unlink()
    with pytest.raises(EnvironmentFault, match=f"got no readable {name}\n") as caught:
        member_files(folder)
    assert INIT in caught.value.remedy
    assert f"{COPY} to {folder}" in caught.value.remedy


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_that_others_can_reach_is_refused(folder: Path, mode: int):
    (folder / "member.key").chmod(mode)
    with pytest.raises(EnvironmentFault, match=f"got mode {mode:04o}") as caught:
        member_files(folder)
    assert f"chmod 600 {folder / 'member.key'}" in caught.value.remedy
    assert INIT in caught.value.remedy
    assert COPY in caught.value.remedy


def test_a_key_that_another_user_provides_is_theirs_to_guard(folder: Path, monkeypatch: pytest.MonkeyPatch):
    (folder / "member.key").chmod(0o644)
    monkeypatch.setattr(certificates.os, "geteuid", lambda: os.getuid() + 1)
    assert member_files(folder).key == folder / "member.key"


def test_an_expired_certificate_is_refused_with_its_date(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "cluster"
    monkeypatch.setattr(certificates, "_VALIDITY", timedelta(hours=-1))
    create_certificates(folder)
    with pytest.raises(EnvironmentFault, match=f"expired on {expires(folder):%Y-%m-%d %H:%M} UTC") as caught:
        member_files(folder)
    assert INIT in caught.value.remedy
    assert "Remove the folder" in caught.value.remedy
    assert COPY in caught.value.remedy


def test_a_damaged_certificate_is_refused(folder: Path):
    (folder / "member.pem").write_text("nonsense")
    with pytest.raises(EnvironmentFault, match="expected a certificate in PEM form") as caught:
        member_files(folder)
    assert INIT in caught.value.remedy


def test_the_folder_is_in_the_state_folder_unless_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.delenv("OVERNIGHT_CLUSTER_CERTIFICATES", raising=False)
    assert cluster_folder() == tmp_path / "state/overnight/cluster"
    assert not cluster_folder().exists()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OVERNIGHT_CLUSTER_CERTIFICATES", "named")
    assert cluster_folder() == tmp_path / "named"
