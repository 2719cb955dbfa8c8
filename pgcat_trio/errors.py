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
    secret. ``default_hint`` says what the user can do where that does not depend on the occasion.
    """

    sqlstate: str = "XX000"
    severity: ClassVar[Severity] = "FATAL"
    safe_to_retry: ClassVar[bool] = False
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, detail: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.hint = hint or self.default_hint

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
    default_hint = "Logins may take client_login_timeout, in the proxy's configuration."


class FeatureNotSupported(ProxyError):
    """A request that transaction pooling or this version of the proxy rules out. The session goes on."""

    sqlstate = "0A000"
    severity = "ERROR"


class InvalidCommand(ProxyError):
    """A command or a hint for the proxy that asks for something that is not there."""

    sqlstate = "22023"
    severity = "ERROR"


class PositionUnknown(ProxyError):
    """A session asks how far it has written, and the server could not say so."""

    sqlstate = "55000"
    severity = "ERROR"


class InsideTransaction(ProxyError):
    """A command that would need another server while a transaction holds one."""

    sqlstate = "25001"
    severity = "ERROR"
    default_hint = (
        "Give the command before BEGIN. Drivers that begin transactions by themselves need autocommit for it."
    )


class InFailedTransaction(ProxyError):
    """A command behind an error in its transaction, in PostgreSQL's words."""

    sqlstate = "25P02"
    severity = "ERROR"


class DuplicateStatement(ProxyError):
    """A client gives a name to a prepared statement that another one has, one of them a command for the proxy."""

    sqlstate = "42P05"
    severity = "ERROR"


class UnknownName(ProxyError):
    """A client uses a name of a prepared command for the proxy that is not there any more."""

    sqlstate = "26000"
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


class PoolDisabled(ProxyError):
    """An administrator lets nobody new connect to this database."""

    sqlstate = "57P03"
    safe_to_retry = True
    default_hint = "An administrator has disabled it; try again later."


class QueryCanceled(ProxyError):
    """The request was cancelled, or its time was over, while it waited for a backend."""

    sqlstate = "57014"
    severity = "ERROR"
    safe_to_retry = True


class IdleInTransaction(ProxyError):
    """The client kept a transaction open without a word for longer than it may."""

    sqlstate = "25P03"
    default_hint = "End transactions sooner, or raise idle_client_in_transaction_timeout in the proxy's configuration."


class IdleSession(ProxyError):
    """The client has not said a word outside of transactions for longer than it may."""

    sqlstate = "57P05"
    default_hint = "Connect again when there is something to do; client_idle_timeout is the proxy's limit."


class TransactionTimeout(ProxyError):
    """A transaction has lasted for longer than it may."""

    sqlstate = "25P04"
    default_hint = "Make transactions shorter, or raise transaction_timeout in the proxy's configuration."


class SubscriptionLost(ProxyError):
    """A client that listens may have missed notifications. Its connection ends, so that it knows."""

    sqlstate = "08006"
    default_hint = "Connect and LISTEN again; what was notified in the meantime is lost."


class ShuttingDown(ProxyError):
    """The proxy is going down, or an administrator ended this session."""

    sqlstate = "57P01"
    safe_to_retry = True
    default_hint = "Connect again."


# -- a server's fault ----------------------------------------------------------------------------------------------


class ServerUnavailable(ProxyError):
    """No server of the wanted role can be reached. Nothing was sent."""

    sqlstate = "08001"
    severity = "ERROR"
    safe_to_retry = True
    default_hint = "Nothing was executed: try again when the server is back. The proxy's log has more."


class ServerLoginFailed(ProxyError):
    """The proxy cannot log in to a server: it has no password, or there is no way of authenticating that both know."""

    sqlstate = "28P01"
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


class LoginRefused(ServerError):
    """A server turned down the proxy's own login, in its own words; they hold no secret.

    Whoever reads this must not take it for a refusal of the client's password.
    """

    _HINTS: ClassVar[dict[str, str]] = {
        "28P01": "Check server_username and server_password in the proxy's configuration.",
        "28000": "Check server_username and server_tls in the proxy's configuration, and the server's pg_hba.conf.",
        "3D000": "Check the database of the pool's shard in the proxy's configuration.",
        "42501": "Check the privileges of server_username on the server.",
        "53300": "Lower pool_size in the proxy's configuration, or raise max_connections on the server.",
        "57P03": "The server is starting up, shutting down or recovering: try again.",
    }

    safe_to_retry = True

    def __init__(self, server: str, fields: dict[str, str]) -> None:
        super().__init__(fields, hint=self._HINTS.get(fields.get("C", "")))
        self.reason = self.message
        """The server's words alone."""
        self.message = f"server {server} refused the proxy's login: {self.message}"
