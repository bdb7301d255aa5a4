"""A certificate of one's own, for a server in one's own network: self-signed, for its names and addresses.

Made with `cryptography` itself: the smaller packages for it (trustme) are for tests, and wrap the same one.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import socket
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from liveagent.errors import DeviceError

DAYS = 397
"""The most that browsers accept of a certificate that they are shown."""
RENEW_DAYS = 30


def own_names() -> list[str]:
    """What this machine may be called: localhost, its host name, and the address it has towards its network."""
    names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
    for family, far in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):  # nobody is there: RFC 5737
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((far, 9))  # sends nothing; asks which address would be used
                names.append(probe.getsockname()[0])
        except OSError:
            continue
    return list(dict.fromkeys(names))


def self_signed(folder: Path, names: Sequence[str] | None = None) -> tuple[Path, Path]:
    """The certificate and the key, as PEM files in `folder`: those that are there if they are good for all `names` and
    for a month to come, else new ones. The key is readable to its owner alone. DeviceError where nothing can be
    written."""
    wanted = list(names or own_names())
    certificate, key = folder / "liveagent.crt", folder / "liveagent.key"
    if key.is_file() and _good(certificate, wanted):
        return certificate, key
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        crt_pem, key_pem = make(wanted)
        fd = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(fd, "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(key_pem)
        certificate.write_bytes(crt_pem)
    except OSError as error:
        why = f"no certificate can be written to {folder} ({error.strerror})"
        raise DeviceError(f"{why}; give --tls-cert and --tls-key") from None
    return certificate, key


def make(names: Sequence[str]) -> tuple[bytes, bytes]:
    """Certificate and key for host names and addresses, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "liveagent on this machine")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([_general(each) for each in names]), critical=False)
        # A root of its own, so that it can be put among the trusted ones; it signs nothing else.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def fingerprint(certificate: Path) -> str:
    """SHA-256 of a certificate, as browsers show it."""
    digest = x509.load_pem_x509_certificate(certificate.read_bytes()).fingerprint(hashes.SHA256())
    return digest.hex(":").upper()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _good(certificate: Path, names: Sequence[str]) -> bool:
    try:
        found = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    left = found.not_valid_after_utc - datetime.datetime.now(datetime.UTC)
    return left.days >= RENEW_DAYS and all(_general(name) in held for name in names)
