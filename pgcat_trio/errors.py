"""Every error the proxy makes itself.

Each class says, once and for all its instances, the SQLSTATE a driver will see (PostgreSQL manual, appendix A), whether
the connection ends with it (``FATAL``) or the session goes on (``ERROR``), and whether the client may simply send the
same request again because nothing of it was executed. Errors that come *from* a server are not made here: their bytes
are passed on unchanged (see `ServerError`, which only carries them).
"""

from __future__ import annotations

from typing import ClassVar, Literal

Severity = Literal["ERROR", "FATAL"]


class ProxyError(Exception):
    """Something the client, an administrator or a caller of the library must be told.

    ``message``, ``detail`` and ``hint`` become the fields M, D and H of an ErrorResponse; none of them ever holds a
    secret.
    """

    sqlstate: str = "XX000"
    severity: ClassVar[Severity] = "FATAL"
    safe_to_retry: ClassVar[bool] = False

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint

    def fields_as(self, severity: str) -> list[tuple[str, str | None]]:
        """The fields of an ErrorResponse, by their letters; those without a value are left out of it."""
        said = [("C", self.sqlstate), ("M", self.message), ("D", self.detail), ("H", self.hint)]
        return [("S", severity), ("V", severity), *said]


# -- the operator's fault ------------------------------------------------------------------------------------------


class ConfigError(ProxyError):
    """A configuration that cannot be used. ``problems`` holds one line per problem, each with its place."""

    sqlstate = "F0000"

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class BindError(ProxyError):
    """A listening address cannot be bound."""

    sqlstate = "58000"


# -- the client's fault --------------------------------------------------------------------------------------------


class ProtocolViolation(ProxyError):
    """The peer sent bytes that the protocol does not allow here. The connection ends."""

    sqlstate = "08P01"


class MessageTooLarge(ProtocolViolation):
    """A message announces more bytes than this connection may send. Refused before memory is taken for it."""

    sqlstate = "54000"


class AuthenticationFailed(ProxyError):
    """Wrong user, wrong password or no such pool: the client is not told which."""

    sqlstate = "28P01"


class InvalidAuthorization(ProxyError):
    """A login that no password could make right (no user name, TLS needed)."""

    sqlstate = "28000"


class LoginTimeout(ProxyError):
    """The client did not finish its login in time (PostgreSQL answers the same code to a slow login)."""

    sqlstate = "57014"


class FeatureNotSupported(ProxyError):
    """A request that transaction pooling or this version of the proxy rules out. The session goes on."""

    sqlstate = "0A000"
    severity = "ERROR"


class TooManyStatements(ProxyError):
    """A client keeps more prepared statements than it may. The connection ends."""

    sqlstate = "53400"


# -- nobody's fault: limits and time -------------------------------------------------------------------------------


class TooManyClients(ProxyError):
    """``max_client_conn`` is reached."""

    sqlstate = "53300"
    safe_to_retry = True


class PoolExhausted(ProxyError):
    """No backend became free within the wait timeout. Nothing was sent; no server is to blame."""

    sqlstate = "53300"
    severity = "ERROR"
    safe_to_retry = True


class QueryCanceled(ProxyError):
    """The request was cancelled, or its time was over, while it waited for a backend."""

    sqlstate = "57014"
    severity = "ERROR"
    safe_to_retry = True


class IdleInTransaction(ProxyError):
    """The client kept a transaction open without a word for longer than it may."""

    sqlstate = "25P03"


class IdleSession(ProxyError):
    """The client has not said a word outside of transactions for longer than it may."""

    sqlstate = "57P05"


class TransactionTimeout(ProxyError):
    """A transaction has lasted for longer than it may."""

    sqlstate = "25P04"


class ShuttingDown(ProxyError):
    """The proxy is going down, or an administrator ended this session."""

    sqlstate = "57P01"
    safe_to_retry = True


# -- a server's fault ----------------------------------------------------------------------------------------------


class ServerUnavailable(ProxyError):
    """No server of the wanted role can be reached. Nothing was sent."""

    sqlstate = "08001"
    severity = "ERROR"
    safe_to_retry = True


class BackendLost(ProxyError):
    """The connection to the server broke while a request or a transaction was on it. It may have been executed."""

    sqlstate = "08006"
    severity = "ERROR"


class ServerError(ProxyError):
    """The server refused (a login, a setting) or went away with an ErrorResponse of its own.

    ``fields`` maps its letters to texts. All of them reach the client, but the severity is the proxy's to say: an error
    that ends a connection to a server need not end the client's. ``hint`` is for an error without one.
    """

    severity = "ERROR"

    def __init__(self, fields: dict[str, str], *, hint: str | None = None) -> None:
        message = fields.get("M", "the server sent an error without a message")
        super().__init__(message, detail=fields.get("D"), hint=fields.get("H", hint))
        self.fields = fields
        self.sqlstate = fields.get("C", "XX000")

    def fields_as(self, severity: str) -> list[tuple[str, str | None]]:
        """As `ProxyError.fields_as`, with all that the server said besides."""
        own = super().fields_as(severity)
        letters = {letter for letter, _ in own}
        return [*own, *((letter, text) for letter, text in self.fields.items() if letter not in letters)]
