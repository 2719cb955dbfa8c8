"""Authentication arithmetic for both roles: SCRAM-SHA-256(-PLUS) by the scramp library, and PostgreSQL's md5.

Sources: PostgreSQL manual, "SASL Authentication"; RFC 5802 and RFC 7677 (SCRAM); RFC 5929 section 4
(tls-server-end-point).
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

import scramp
from asn1crypto.x509 import Certificate

from ..errors import AuthenticationFailed, ProtocolViolation

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"

ITERATIONS: Final = 4096
"""PostgreSQL's own default (scram_iterations); RFC 7677 asks for at least this many."""


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """The answer to an md5 request: md5(md5(password + user) + salt), in hex, with "md5" before it."""
    inner = hashlib.md5((password + user).encode(), usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def equal(left: bytes, right: bytes) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(left, right)


def server_end_point(certificate_der: bytes) -> bytes:
    """The tls-server-end-point channel binding of a certificate.

    RFC 5929: the certificate's hash by its own signature's hash function, md5 and sha1 replaced by sha256.
    """
    algorithm = Certificate.load(certificate_der)["signature_algorithm"]
    try:
        name = algorithm.hash_algo
    except ValueError:
        name = "sha256"  # Ed25519 and its kin name none; PostgreSQL takes sha256 for them
    name = {"md5": "sha256", "sha1": "sha256"}.get(name, name)
    return hashlib.new(name, certificate_der).digest()


class ScramVerifier:
    """What a server keeps of a password: salt, StoredKey, ServerKey. Made once a password; never the password."""

    __slots__ = ("_info",)

    def __init__(self, password: str) -> None:
        self._info = scramp.ScramMechanism(SCRAM).make_auth_info(password, iteration_count=ITERATIONS)

    def info(self, _user: str) -> object:
        """What scramp asks for: the login's identity is the startup packet's user, whatever SCRAM names."""
        return self._info


class ScramServer:
    """The server's side of one login. Three calls: `first`, `final`; `AuthenticationFailed` means wrong password."""

    __slots__ = ("_server",)

    def __init__(self, verifier: ScramVerifier, mechanism: str, end_point: bytes | None) -> None:
        binding = None if end_point is None else ("tls-server-end-point", end_point)
        self._server = scramp.ScramMechanism(mechanism).make_server(verifier.info, channel_binding=binding)

    def first(self, client_first: bytes) -> bytes:
        """Answer the client's first message with salt, iterations and nonce."""
        return self._step(self._server.set_client_first, client_first, self._server.get_server_first)

    def final(self, client_final: bytes) -> bytes:
        """Check the client's proof and answer with the server's signature."""
        return self._step(self._server.set_client_final, client_final, self._server.get_server_final)

    @staticmethod
    def _step(take: object, data: bytes, answer: object) -> bytes:
        try:
            take(data.decode("utf-8"))  # type: ignore[operator]
            return answer().encode()  # type: ignore[operator, no-any-return]
        except scramp.ScramException as problem:
            if problem.server_error in (None, "invalid-proof", "unknown-user"):
                raise AuthenticationFailed("SCRAM proof does not match") from None
            raise ProtocolViolation(f"malformed SCRAM message: {problem.server_error}") from None
        except (UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError):
            raise ProtocolViolation("malformed SCRAM message") from None


class ScramClient:
    """The client's side of one login, towards a server. A server that cannot prove it knows the password is refused."""

    __slots__ = ("_client", "mechanism")

    def __init__(self, user: str, password: str, offered: list[str], end_point: bytes | None) -> None:
        known = [name for name in offered if name == SCRAM or (name == SCRAM_PLUS and end_point is not None)]
        if not known:
            raise AuthenticationFailed(f"the server offers only the SASL mechanisms {', '.join(offered)}")
        # scramp picks the strongest, and tells the server by its gs2 header if it could have bound the channel.
        binding = None if end_point is None else ("tls-server-end-point", end_point)
        self._client = scramp.ScramClient(known, user, password, channel_binding=binding)
        self.mechanism: str = self._client.mechanism_name

    def first(self) -> bytes:
        """The client's first message."""
        return bytes(self._client.get_client_first().encode())

    def final(self, server_first: bytes) -> bytes:
        """Answer the server's salt and nonce with the proof."""
        try:
            self._client.set_server_first(server_first.decode("utf-8"))
            return bytes(self._client.get_client_final().encode())
        except (scramp.ScramException, UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError):
            raise ProtocolViolation("the server sent a malformed SCRAM message") from None

    def check(self, server_final: bytes) -> None:
        """Check the server's signature; `AuthenticationFailed` if it does not know the password either."""
        try:
            self._client.set_server_final(server_final.decode("utf-8"))
        except (scramp.ScramException, UnicodeDecodeError, ValueError, KeyError, IndexError, TypeError):
            raise AuthenticationFailed("the server's SCRAM signature is wrong: it does not know the password") from None
