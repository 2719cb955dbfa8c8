"""TLS contexts and upgrades, for both faces.

The modes towards a server are libpq's sslmode (PostgreSQL manual, "SSL Support" of libpq). The rule that matters most:
from ``require`` on, nothing is ever said in clear text to a server that refused TLS.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final

import trio

from ..config.model import SslMode
from ..errors import ConfigError
from .streams import StreamTransport, TransportStream

if TYPE_CHECKING:
    import os

    from .transport import Transport

ALPN: Final = "postgresql"
"""Registered for direct TLS (PostgreSQL manual, "SSL Session Encryption")."""


def client_facing_context(certificate: str | os.PathLike[str], private_key: str | os.PathLike[str]) -> ssl.SSLContext:
    """The context for clients. Raises `ConfigError` naming the file that OpenSSL does not accept."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols([ALPN])
    _load_chain(context, "tls_certificate", certificate, private_key)
    return context


def server_facing_context(
    mode: SslMode,
    ca_file: str | None = None,
    certificate: str | None = None,
    private_key: str | None = None,
) -> ssl.SSLContext | None:
    """The context towards servers for an sslmode; None for ``disable``. Raises `ConfigError` for unusable files."""
    if mode is SslMode.DISABLE:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_IGNORE_UNEXPECTED_EOF
    context.set_alpn_protocols([ALPN])
    # libpq: a root certificate turns ``require`` into ``verify-ca``.
    verifies = mode in (SslMode.VERIFY_CA, SslMode.VERIFY_FULL) or (mode is SslMode.REQUIRE and ca_file is not None)
    context.check_hostname = mode is SslMode.VERIFY_FULL
    context.verify_mode = ssl.CERT_REQUIRED if verifies else ssl.CERT_NONE
    if verifies and ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if ca_file is not None:
        try:
            context.load_verify_locations(ca_file)
        except (OSError, ssl.SSLError) as problem:
            raise ConfigError(f"server_tls_ca_file {ca_file!r} cannot be used: {problem}") from None
    if certificate is not None:
        _load_chain(context, "server_tls_certificate", certificate, private_key or certificate)
    return context


def _load_chain(
    context: ssl.SSLContext, key: str, certificate: str | os.PathLike[str], private_key: str | os.PathLike[str]
) -> None:
    try:
        # An encrypted key would make OpenSSL ask on the terminal: answer with nothing, which fails clearly.
        context.load_cert_chain(certificate, private_key, password=lambda: b"")
    except (OSError, ssl.SSLError) as problem:
        raise ConfigError(
            f"{key} is incorrectly configured: {str(certificate)!r} with key {str(private_key)!r}: {problem}"
        ) from None


async def upgrade(
    transport: Transport, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
) -> StreamTransport:
    """Put TLS on a transport and shake hands. Raises `trio.BrokenResourceError` with OpenSSL's words as ``cause``.

    The caller bounds the time. After an error or `Cancelled` the transport is good for nothing but closing.
    """
    stream = trio.SSLStream(
        TransportStream(transport),
        context,
        server_side=server_side,
        server_hostname=server_hostname,
        https_compatible=True,
    )
    await stream.do_handshake()
    return StreamTransport(stream, peer=transport.peer, encrypted=True)


def negotiated_alpn(transport: Transport) -> str | None:
    """The application protocol that the handshake settled on; None without TLS or without one."""
    if isinstance(transport, StreamTransport) and isinstance(transport.stream, trio.SSLStream):
        chosen: str | None = transport.stream.selected_alpn_protocol()
        return chosen
    return None


def peer_certificate(transport: Transport) -> bytes | None:
    """The peer's certificate in DER, None without TLS or without one."""
    if isinstance(transport, StreamTransport) and isinstance(transport.stream, trio.SSLStream):
        certificate: bytes | None = transport.stream.getpeercert(binary_form=True)
        return certificate
    return None


def own_certificate(certificate_file: str) -> bytes:
    """The first certificate of a PEM file, in DER: what a client of ours sees as our certificate."""
    with open(certificate_file, encoding="ascii", errors="replace") as file:
        text = file.read()
    start = text.index("-----BEGIN CERTIFICATE-----")
    end = text.index("-----END CERTIFICATE-----", start) + len("-----END CERTIFICATE-----")
    return ssl.PEM_cert_to_DER_cert(text[start:end])
