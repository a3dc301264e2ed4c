"""The certificate of a cluster: one that signed itself, which all members show each other and which alone they trust.

Whoever has its key may send programs to every machine of the cluster and read what they answer, so that only its owner
may read the key. The other machines need a copy of both files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from overnight.flows.state_folder import state_folder
from overnight.schemas.errors import EnvironmentFault, UsageError
from overnight.tasks.evaluate.cluster.dask_members import Certificates
from overnight.tasks.program.user_config import user_cluster

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate

VARIABLE = "OVERNIGHT_CLUSTER_CERTIFICATES"
"""Environment variable with the folder of the certificates."""

_MEMBER, _MEMBER_KEY = "member.pem", "member.key"

_NAME = "overnight-cluster"
"""Name in the certificate. The members do not compare it with addresses: they trust this certificate alone."""

_VALIDITY = timedelta(days=1826)
_CLOCK_DIFFERENCE = timedelta(days=1)
"""Time by which a certificate is valid earlier than now, for machines whose clocks are slow."""

_KEY_USAGES = (
    *("digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement"),
    *("key_cert_sign", "crl_sign", "encipher_only", "decipher_only"),
)


def cluster_folder() -> Path:
    """Return the folder of the certificates: from the environment, else from the user's configuration file, else
    `cluster` in the state folder.

    Raises:
        UsageError: If the configuration file is wrong.
        EnvironmentFault: If the state folder is needed and cannot be used.
    """
    named = os.environ.get(VARIABLE) or user_cluster().certificates
    return Path(named).expanduser().resolve() if named else state_folder() / "cluster"


def create_certificates(folder: Path) -> None:
    """Create the certificate of the members and its key in a new or empty folder; both files or none.

    Raises:
        UsageError: If the folder has files already.
        EnvironmentFault: If it cannot be written.
    """
    try:
        _require_empty(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))  # mode 0700
        try:
            _write_files(temporary)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise EnvironmentFault(
            f"expected a folder for the certificates of the cluster, got: {error.strerror}: {folder}",
            remedy=f"Make it writable, or name another folder: export {VARIABLE}=/path/of/yours",
        ) from error


def member_files(folder: Path) -> Certificates:
    """Return the files of a member, after checking that they can be used.

    Raises:
        EnvironmentFault: If a file is missing or unreadable, if others may read the key, or if the certificate is
            damaged or has expired.
    """
    files = Certificates(folder / _MEMBER, folder / _MEMBER_KEY)
    missing = [
        path.name for path in (files.certificate, files.key) if not (os.path.isfile(path) and os.access(path, os.R_OK))
    ]
    if missing:
        raise EnvironmentFault(
            f"expected the certificates of the cluster in {folder}, got no readable {', '.join(missing)}",
            remedy=_how_to_get(folder),
        )
    _require_private(files.key)
    _require_unexpired(folder)
    return files


def expires(folder: Path) -> datetime:
    """Return the time at which the certificate of the members expires; raise an EnvironmentFault if it is damaged."""
    from cryptography import x509

    file = folder / _MEMBER
    try:
        return x509.load_pem_x509_certificate(file.read_bytes()).not_valid_after_utc
    except (OSError, ValueError) as error:
        raise EnvironmentFault(
            f"expected a certificate in PEM form in {file}, got: {error}", remedy=_how_to_get(folder)
        ) from error


def _require_empty(folder: Path) -> None:
    found = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
    if found:
        raise UsageError(
            f"expected a new or empty folder for the certificates of the cluster, got {folder} with {', '.join(found)}",
            remedy=(
                f"Keep them, or remove the folder and create new ones, which every machine then needs: rm -r {folder}"
            ),
        )


def _require_private(key: Path) -> None:
    """Require that only its owner can read a key; one that another user provides, such as root, is theirs to guard."""
    found = key.stat()
    if found.st_uid == os.geteuid() and found.st_mode & 0o077:
        raise EnvironmentFault(
            f"expected {key} to be readable by its owner alone, got mode {found.st_mode & 0o777:04o}",
            remedy=f"Close it: chmod 600 {key}\nIf someone may have read it: {_how_to_renew(key.parent)}",
        )


def _require_unexpired(folder: Path) -> None:
    end = expires(folder)
    if end <= datetime.now(UTC):
        raise EnvironmentFault(
            f"expected a valid certificate in {folder / _MEMBER}, got one that expired on {end:%Y-%m-%d %H:%M} UTC",
            remedy=_how_to_renew(folder),
        )


def _how_to_get(folder: Path) -> str:
    return (
        "Create them on the head: overnight cluster init\n"
        f"On another machine, copy {_MEMBER} and {_MEMBER_KEY} of the head's folder to {folder}"
    )


def _how_to_renew(folder: Path) -> str:
    return (
        f"Remove the folder on the head ({folder}, if this is the head), then run there: overnight cluster init\n"
        f"On every other machine, copy {_MEMBER} and {_MEMBER_KEY} of the head's folder to its own"
    )


def _write_files(folder: Path) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    _write(folder / _MEMBER_KEY, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=0o600)
    _write(folder / _MEMBER, _certificate(key).public_bytes(Encoding.PEM), mode=0o644)


def _write(file: Path, data: bytes, *, mode: int) -> None:
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def _certificate(key: EllipticCurvePrivateKey) -> Certificate:
    """Return a self-signed certificate for both ends of a connection, which vouches for itself alone."""
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now, name = datetime.now(UTC), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _NAME)])
    usage = x509.KeyUsage(**{usage: usage in ("digital_signature", "key_cert_sign") for usage in _KEY_USAGES})
    both_ends = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - _CLOCK_DIFFERENCE).not_valid_after(now + _VALIDITY)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(usage, critical=True)
    builder = builder.add_extension(both_ends, critical=False)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(_NAME)]), critical=False)
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    return builder.sign(key, SHA256())
