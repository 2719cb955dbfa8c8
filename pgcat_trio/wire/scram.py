"""Authentication arithmetic for both roles: SCRAM-SHA-256(-PLUS) by the scramp library, and PostgreSQL's md5.

Sources: PostgreSQL manual, "SASL Authentication"; RFC 5802 and RFC 7677 (SCRAM); RFC 5929 section 4
(tls-server-end-point).
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING, Final

import scramp
from asn1crypto.x509 import Certificate
from scramp.utils import saslprep

from ..errors import AuthenticationFailed, ProtocolViolation

if TYPE_CHECKING:
    from collections.abc import Iterator

SCRAM: Final = "SCRAM-SHA-256"
SCRAM_PLUS: Final = "SCRAM-SHA-256-PLUS"

ITERATIONS: Final = 4096
"""PostgreSQL's own default (scram_iterations); RFC 7677 asks for at least this many."""

MAX_ITERATIONS: Final = 1_000_000
"""About a third of a second of work, during which the whole proxy stands still: a server may not ask for more."""


def md5_password(user: str, password: str, salt: bytes) -> bytes:
    """The answer to an md5 request: md5(md5(password + user) + salt), in hex, with "md5" before it."""
    secret = (password + user).encode("utf-8", "surrogateescape")  # the user is whatever a client says
    inner = hashlib.md5(secret, usedforsecurity=False).hexdigest()
    return b"md5" + hashlib.md5(inner.encode() + salt, usedforsecurity=False).hexdigest().encode()


def equal(left: bytes, right: bytes) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(left, right)


def server_end_point(certificate_der: bytes) -> bytes | None:
    """The tls-server-end-point channel binding of a certificate, None if it has none.

    RFC 5929: the certificate's hash by its own signature's hash function, md5 and sha1 replaced by sha256. Signatures
    that name none (Ed25519) leave the binding undefined, and libpq cannot log in where it is offered all the same.
    """
    algorithm = Certificate.load(certificate_der)["signature_algorithm"]
    if algorithm.signature_algo not in ("rsassa_pkcs1v15", "ecdsa", "dsa"):
        return None
    name = algorithm.hash_algo
    name = {"md5": "sha256", "sha1": "sha256"}.get(name, name)
    return hashlib.new(name, certificate_der).digest()


def prepared(password: str) -> bytes:
    """The password as SCRAM hashes it.

    PostgreSQL (pg_saslprep) takes one that SASLprep refuses, such as an emoji or a tab, or leaves nothing of, as it is.
    """
    try:
        text = saslprep(password) or password
    except scramp.ScramException:
        text = password
    return bytes(text.encode("utf-8", "surrogateescape"))


class ScramVerifier:
    """What a server keeps of a password: salt, StoredKey, ServerKey. Made once a password; never the password."""

    __slots__ = ("_info",)

    def __init__(self, password: str, salt: bytes | None = None) -> None:
        salt = secrets.token_bytes(16) if salt is None else salt
        salted = hashlib.pbkdf2_hmac("sha256", prepared(password), salt, ITERATIONS)
        stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        self._info = (salt, stored_key, hmac.digest(salted, b"Server Key", "sha256"), ITERATIONS)

    @classmethod
    def mock(cls, user: str, secret: bytes) -> ScramVerifier:
        """A verifier for somebody who does not exist: no password opens it, and its salt is as steady as a real one's.

        PostgreSQL does the same (mock_scram_secret), so that a login does not tell which users there are.
        """
        verifier = cls.__new__(cls)
        salt = hmac.digest(secret, user.encode("utf-8", "surrogateescape"), "sha256")[:16]
        verifier._info = (salt, secrets.token_bytes(32), secrets.token_bytes(32), ITERATIONS)
        return verifier

    def info(self, _user: str) -> tuple[bytes, bytes, bytes, int]:
        """What scramp asks for: the login's identity is the startup packet's user, whatever SCRAM names."""
        return self._info


class ScramServer:
    """The server's side of one login: `first`, then `final`. `AuthenticationFailed` means wrong password."""

    __slots__ = ("_server",)

    def __init__(
        self, verifier: ScramVerifier, mechanism: str, end_point: bytes | None, nonce: str | None = None
    ) -> None:
        binding = None if end_point is None else ("tls-server-end-point", end_point)
        scram = scramp.ScramMechanism(mechanism)
        self._server = scram.make_server(verifier.info, channel_binding=binding, s_nonce=nonce)

    def first(self, client_first: bytes) -> bytes:
        """Answer the client's first message with salt, iterations and nonce."""
        with _malformed_or_wrong():
            flag, authorization, bare = client_first.decode().split(",", 2)
            # libpq names nobody ("n=,r=..."), for PostgreSQL does not look at the name; scramp wants one. The
            # signatures cover what the client did say.
            named = "n=*" + bare[2:] if bare.startswith("n=,") else bare
            self._server.set_client_first(f"{flag},{authorization},{named}")
            self._server.client_first_bare = bare
            return bytes(self._server.get_server_first().encode())

    def final(self, client_final: bytes) -> bytes:
        """Check the client's proof and answer with the server's signature."""
        with _malformed_or_wrong():
            self._server.set_client_final(client_final.decode())
            return bytes(self._server.get_server_final().encode())


@contextlib.contextmanager
def _malformed_or_wrong() -> Iterator[None]:
    """Tell a wrong password, and a channel that ends elsewhere, from a message that keeps no format."""
    try:
        yield
    except scramp.ScramException as problem:
        # An enum's member or its value, by the library's version.
        kind = getattr(problem.server_error, "value", problem.server_error)
        if kind in ("invalid-proof", "channel-bindings-dont-match", "server-does-support-channel-binding"):
            raise AuthenticationFailed("SCRAM proof does not match") from None
        raise ProtocolViolation(f"malformed SCRAM message: {kind or 'out of order'}") from None
    except (ValueError, KeyError, IndexError, TypeError):
        raise ProtocolViolation("malformed SCRAM message") from None


class ScramClient:
    """The client's side of one login, towards a server. A server that cannot prove it knows the password is refused."""

    __slots__ = ("_client", "mechanism")

    def __init__(
        self, user: str, password: str, offered: list[str], end_point: bytes | None, nonce: str | None = None
    ) -> None:
        known = [name for name in offered if name == SCRAM or (name == SCRAM_PLUS and end_point is not None)]
        if not known:
            raise AuthenticationFailed(f"the server offers only the SASL mechanisms {', '.join(offered)}")
        # scramp picks the strongest, and tells the server by its gs2 header if it could have bound the channel.
        binding = None if end_point is None else ("tls-server-end-point", end_point)
        # Placeholders: PostgreSQL goes by the startup packet's name, so ``user``, which SASLprep may refuse, stays out
        # of it; and scramp would refuse passwords that PostgreSQL takes, see `prepared`.
        self._client = scramp.ScramClient(known, "*", "*", channel_binding=binding, c_nonce=nonce)
        self._client.password = prepared(password)
        self.mechanism: str = self._client.mechanism_name

    def first(self) -> bytes:
        """The client's first message."""
        return bytes(self._client.get_client_first().encode())

    def final(self, server_first: bytes) -> bytes:
        """Answer the server's salt and nonce with the proof."""
        try:
            self._client.set_server_first(server_first.decode())
            iterations = int(self._client.iterations)
            if iterations <= MAX_ITERATIONS:
                return bytes(self._client.get_client_final().encode())
        except scramp.ScramException as problem:
            raise ProtocolViolation(f"the server sent a SCRAM message that cannot be used: {problem}") from None
        except (ValueError, KeyError, IndexError, TypeError):
            raise ProtocolViolation("the server sent a malformed SCRAM message") from None
        raise ProtocolViolation(f"the server asks for {iterations} SCRAM iterations, at most {MAX_ITERATIONS} are done")

    def check(self, server_final: bytes) -> None:
        """Check the server's signature; `AuthenticationFailed` if it does not know the password either."""
        try:
            self._client.set_server_final(server_final.decode())
        except (scramp.ScramException, ValueError, KeyError, IndexError, TypeError):
            raise AuthenticationFailed("the server's SCRAM signature is wrong: it does not know the password") from None
