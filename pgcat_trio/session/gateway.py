"""What a session needs of the server it runs in, as an interface: sessions never import the server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import ssl

    from ..config.model import AuthType, General
    from ..pool.cluster import Cluster
    from ..wire.scram import ScramVerifier
    from .cancel import CancelKeys

ADMIN_DATABASES = frozenset(("pgcat", "pgbouncer"))


@attrs.frozen
class Account:
    """How somebody proves who they are. Secrets stay out of its repr."""

    auth_type: AuthType
    password: str | None = attrs.field(repr=False)
    verifier: ScramVerifier | None = attrs.field(repr=False)


@attrs.frozen
class ClientTls:
    """TLS towards clients: the context, and what SCRAM-SHA-256-PLUS binds to, if the certificate allows it."""

    context: ssl.SSLContext
    end_point: bytes | None = attrs.field(repr=False)


class Gateway(Protocol):
    """The server as its sessions see it. Everything is synchronous; a reload changes what the methods return."""

    cancel_keys: CancelKeys

    @property
    def general(self) -> General:
        """The ``[general]`` section in force."""
        ...

    @property
    def client_tls(self) -> ClientTls | None:
        """TLS for clients, None if no certificate is configured."""
        ...

    def admit(self) -> None:
        """Raise `TooManyClients` if one connection more than allowed is open."""
        ...

    def find_cluster(self, database: str, user: str) -> Cluster | None:
        """The servers behind a database and user, None if no such pool is configured."""
        ...

    def physical_pool(self, database: str, user: str) -> str:
        """The pool that a client means who asks for physical replication: ``database``, if that is one of the user's.

        If it is not, the first of the user's, as long as all have the same primary; else ``database`` all the same.
        """
        ...

    def find_account(self, database: str, user: str) -> Account:
        """How this login is checked. Unknown ones get an account that no password opens, in the usual way."""
        ...
