"""Certificates for tests: an authority made on the spot, and what it signs, as PEM files."""

from __future__ import annotations

import datetime
import ipaddress
from typing import TYPE_CHECKING, Final, Literal

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes

KeyKind = Literal["rsa", "ec", "ed25519"]

_LIFETIME: Final = datetime.timedelta(days=1)


@attrs.frozen
class KeyPair:
    """A certificate and its private key: paths of PEM files."""

    certificate: Path
    private_key: Path


class Authority:
    """A certificate authority whose files live in ``directory``. ``certificate`` is what peers must trust.

    Its ``kind`` decides how what it issues is signed, and so what SCRAM's channel binding makes of it.
    """

    def __init__(self, directory: Path, *, kind: KeyKind = "ec", name: str = "authority") -> None:
        self.directory = directory
        self._key = _generate(kind)
        self._hash = None if kind == "ed25519" else hashes.SHA256()
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = self._builder(self._name, self._key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.certificate = directory / f"{name}.crt"
        self.certificate.write_bytes(_pem(builder.sign(self._key, self._hash)))

    def issue(self, name: str = "server", *, kind: KeyKind = "ec", hosts: tuple[str, ...] = ("localhost",)) -> KeyPair:
        """A certificate for ``hosts``; each a DNS name or an IP address. Files are called after ``name``."""
        key = _generate(kind)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternatives = x509.SubjectAlternativeName([_general_name(host) for host in hosts])
        builder = self._builder(subject, key.public_key()).add_extension(alternatives, critical=False)
        pair = KeyPair(self.directory / f"{name}.crt", self.directory / f"{name}.key")
        pair.certificate.write_bytes(_pem(builder.sign(self._key, self._hash)))
        pair.private_key.touch(mode=0o600)  # libpq refuses a client's key that others may read
        pair.private_key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return pair

    def _builder(self, subject: x509.Name, public_key: object) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return x509.CertificateBuilder(
            issuer_name=self._name,
            subject_name=subject,
            public_key=public_key,  # type: ignore[arg-type]
            serial_number=x509.random_serial_number(),
            not_valid_before=now - _LIFETIME,
            not_valid_after=now + _LIFETIME,
        )


def _generate(kind: KeyKind) -> CertificateIssuerPrivateKeyTypes:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if kind == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key(ec.SECP256R1())


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
