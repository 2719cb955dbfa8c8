"""The real server answers the same bytes as our model of it, and our book of replies ends where the server does."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from scripts import IN_DOUBT, MIXED, REQUESTS
from server_model import ServerModel, execute, messages_of, query

from pgcat_trio.errors import AuthenticationFailed, ServerError
from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.downstream import Downstream
from pgcat_trio.wire.scram import ScramClient
from pgcat_trio.wire.upstream import Upstream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.embedded import EmbeddedCluster

SQL = {
    b"ok": b"SELECT 1",
    b"error": b"SELECT 1 / (SELECT 0)",
    b"copy": b"COPY numbers FROM STDIN",
    b"refuse": b"COPY refused FROM STDIN",
}
SETUP = """
CREATE TEMPORARY TABLE numbers (n int);
CREATE TEMPORARY TABLE refused (n int);
CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON refused EXECUTE FUNCTION pg_temp.refuse();
"""
RANDOM_OID = 1598


class Client:
    """A blocking connection, logged in with SCRAM by our own codec."""

    def __init__(self, cluster: EmbeddedCluster, user: str, password: str) -> None:
        server = cluster.primary
        self._socket = socket.create_connection((server.host, server.port), timeout=20)
        self._buffer = b""
        try:
            self._log_in(user, password, cluster.database)
        except BaseException:
            self._socket.close()
            raise

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def receive(self) -> bytes:
        """The next message, whole; b"" when the server has closed the connection."""
        while len(self._buffer) < 5 or len(self._buffer) < 1 + int.from_bytes(self._buffer[1:5], "big"):
            data = self._socket.recv(65536)
            if not data:
                return b""
            self._buffer += data
        end = 1 + int.from_bytes(self._buffer[1:5], "big")
        message, self._buffer = self._buffer[:end], self._buffer[end:]
        return message

    def run(self, sql: str) -> None:
        self.send(encode.query(sql))
        while (message := self.receive())[0] != codes.READY_FOR_QUERY:
            if message[0] == codes.ERROR_RESPONSE:
                raise ServerError(messages.error_fields(message[5:]))

    def _log_in(self, user: str, password: str, database: str) -> None:
        self.send(encode.startup({"user": user, "database": database, "client_encoding": "UTF8"}))
        while (message := self.receive())[0] != codes.READY_FOR_QUERY:
            if message[0] == codes.ERROR_RESPONSE:
                raise ServerError(messages.error_fields(message[5:]))
            if message[0] != codes.AUTHENTICATION:
                continue
            kind, data = messages.authentication(message[5:])
            if kind == codes.AUTH_SASL:
                scram = ScramClient(user, password, messages.sasl_mechanisms(data), None)
                self.send(encode.sasl_initial_response(scram.mechanism, scram.first()))
            elif kind == codes.AUTH_SASL_CONTINUE:
                self.send(encode.sasl_response(scram.final(data)))
            elif kind == codes.AUTH_SASL_FINAL:
                scram.check(data)


@pytest.fixture
def client(cluster: EmbeddedCluster) -> Iterator[Client]:
    with Client(cluster, cluster.superuser, cluster.password) as client:
        client.run(SETUP)
        yield client


def real(message: bytes) -> bytes:
    """The bytes for a real server of a message whose text names an outcome."""
    if message[:1] == b"Q":
        return encode.query(SQL[message[5:-1]])
    if message[:1] == b"E":
        sql = SQL[message[5:].partition(b"\x00")[0]]
        return (
            encode.message(b"P", b"\x00" + sql + bytes(3))
            + encode.message(b"B", bytes(8))
            + encode.message(b"E", bytes(5))
        )
    if message[:1] == b"F":
        return encode.message(b"F", RANDOM_OID.to_bytes(4, "big") + bytes(6))
    return message


def outline(replies: list[bytes]) -> str:
    """The letters that the model knows; FunctionCallResponse counts as a completion."""
    letters = "".join(chr(reply[0]) for reply in replies)
    return "".join(letter for letter in letters.replace("V", "C") if letter in "CEGZ")


SCRIPTS = [*REQUESTS, *IN_DOUBT, *MIXED]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: "".join(chr(message[0]) for message in script))
@pytest.mark.parametrize("at_once", [True, False], ids=["at once", "one by one"])
def test_the_server_answers_as_the_model_does_and_the_book_ends_settled(
    client: Client, script: list[bytes], at_once: bool
) -> None:
    downstream, upstream, model = Downstream(), Upstream(), ServerModel()
    replies: list[bytes] = []

    for message in [b"".join(script)] if at_once else script:
        sent = b"".join(map(real, messages_of(message)))
        downstream.feed(sent)
        while batch := downstream.take(streaming=True):
            upstream.expected.sent(downstream.markers, downstream.unsynced)
            client.send(batch)
        model.receive(message)
        # Completions may stay with the server until something makes it flush.
        flushed = outline(model.replies).rstrip("C")
        while not at_once and len(outline(replies)) < len(flushed):
            replies.append(client.receive())
            upstream.feed(replies[-1])
    client.send(encode.TERMINATE)  # the server has then said all it had to say
    while reply := client.receive():
        replies.append(reply)
        upstream.feed(reply)
    assert outline(replies) == outline(model.replies)
    assert model.at_rest
    if script not in MIXED:
        assert upstream.quiet
    if script in REQUESTS:
        assert not upstream.expected.in_doubt


def test_what_a_query_among_extended_messages_leaves_behind_is_given_to_nobody(client: Client) -> None:
    """PostgreSQL 18 says that it is idle, and then refuses the next statement with an internal error."""
    downstream, upstream = Downstream(), Upstream()
    downstream.feed(real(execute("ok")) + real(query("ok")) + encode.SYNC)
    client.send(downstream.take(streaming=False))
    upstream.expected.sent(downstream.markers, downstream.unsynced)
    while not upstream.quiet:
        upstream.feed(client.receive())
    assert upstream.expected.in_doubt


def test_a_query_while_the_server_reads_copy_data_ends_the_connection(client: Client) -> None:
    """The model's ``dead``."""
    client.send(real(query("copy")) + real(query("ok")))
    received = []
    while message := client.receive():
        received.append(message)
    assert outline(received) == "GEE"


# -- SCRAM ---------------------------------------------------------------------------------------------------------


def test_a_wrong_password_is_the_servers_to_refuse(cluster: EmbeddedCluster) -> None:
    with pytest.raises(ServerError, match="password authentication failed") as caught:
        Client(cluster, cluster.superuser, "wrong")
    assert caught.value.sqlstate == AuthenticationFailed.sqlstate


PASSWORDS = ["plain", "\N{GRINNING FACE}", "a\tb", "I\N{SOFT HYPHEN}X", "\N{SOFT HYPHEN}", "\N{ROMAN NUMERAL NINE}"]


@pytest.mark.parametrize("password", [*PASSWORDS, "\N{ARABIC LETTER ALEF}1"], ids=ascii)
def test_passwords_are_prepared_as_the_server_does_it(client: Client, cluster: EmbeddedCluster, password: str) -> None:
    client.run("DROP ROLE IF EXISTS wire_scram")
    client.run(f"CREATE ROLE wire_scram LOGIN PASSWORD '{password}'")
    try:
        with Client(cluster, "wire_scram", password) as other:
            other.run("SELECT 1")
    finally:
        client.run("DROP ROLE wire_scram")
