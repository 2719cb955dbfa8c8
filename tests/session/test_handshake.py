"""From a client's first byte to the end of its login."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
import trio
from support.certificates import Authority
from support.world import READY, By, Client, config_of, fields_of, open_world, rows, shape

from pgcat_trio.config.model import AuthType
from pgcat_trio.errors import AuthenticationFailed
from pgcat_trio.net.tls import client_facing_context, own_certificate
from pgcat_trio.session.gateway import Account, ClientTls
from pgcat_trio.wire import codes, encode, messages
from pgcat_trio.wire.scram import SCRAM, SCRAM_PLUS, ScramClient, ScramVerifier, md5_password, server_end_point

if TYPE_CHECKING:
    from pathlib import Path

    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

PASSWORD = "open sesame"
STARTUP = encode.startup({"user": "ann", "database": "app"})
GSSENC_REQUEST = b"\x00\x00\x00\x08" + codes.UINT32.pack(codes.GSSENC_REQUEST)


def account(auth_type: AuthType, password: str | None = PASSWORD) -> Account:
    """What the server knows about ann; without a password: about somebody whom it does not know."""
    verifier = ScramVerifier(password or "nobody knows") if "scram" in auth_type.value else None
    return Account(auth_type, password, verifier)


@pytest.fixture
def client_tls(tmp_path: Path) -> ClientTls:
    pair = Authority(tmp_path).issue("proxy", hosts=("proxy",))
    context = client_facing_context(pair.certificate, pair.private_key)
    return ClientTls(context, server_end_point(own_certificate(str(pair.certificate))))


@pytest.fixture
def trusting() -> ssl.SSLContext:
    """A client's side of TLS that believes anybody."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def encrypt(client: Client, context: ssl.SSLContext) -> None:
    """Shake hands."""
    stream = trio.SSLStream(client.stream, context, server_hostname="proxy", https_compatible=True)
    client.stream = stream
    await stream.do_handshake()


async def is_served(client: Client) -> None:
    assert await client.query("SELECT 1") == rows("1") + READY


# -- first packets -------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("piece", [1, 3, 8, 1000])
async def test_login_in_pieces(autojump_clock: MockClock, by: By, piece: int) -> None:
    async with open_world(by=by) as world:
        client = world.dial_in()
        for start in range(0, len(STARTUP), piece):
            await client.send(STARTUP[start : start + piece])
            await world.idle()
        assert shape(await client.reply()).startswith("R S")
        await is_served(client)


@pytest.mark.trio
@both_ways
async def test_what_is_sent_right_behind_the_login_is_not_lost(autojump_clock: MockClock, by: By) -> None:
    async with open_world(by=by) as world:
        client = world.dial_in()
        await client.send(STARTUP, encode.query("SELECT 1"), encode.query("SELECT 2")[:9])
        await client.reply()
        assert await client.reply() == rows("1") + READY
        await client.send(encode.query("SELECT 2")[9:])
        assert await client.reply() == rows("2") + READY


@pytest.mark.trio
@pytest.mark.parametrize("requests", [[encode.SSL_REQUEST], [GSSENC_REQUEST], [GSSENC_REQUEST, encode.SSL_REQUEST]])
async def test_encryption_is_declined_where_there_is_none(autojump_clock: MockClock, requests: list[bytes]) -> None:
    async with open_world() as world:
        client = world.dial_in()
        for request in requests:
            await client.send(request)
            assert await client.stream.receive_some(10) == b"N"
        await client.send(STARTUP)
        await client.reply()
        await is_served(client)


@pytest.mark.trio
@pytest.mark.parametrize("request_", [encode.SSL_REQUEST, GSSENC_REQUEST])
async def test_encryption_is_not_declined_twice(autojump_clock: MockClock, request_: bytes) -> None:
    async with open_world() as world:
        client = world.dial_in()
        await client.send(request_)
        assert await client.stream.receive_some(10) == b"N"
        await client.send(request_)
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
@pytest.mark.parametrize("request_", [encode.SSL_REQUEST, GSSENC_REQUEST])
@pytest.mark.parametrize("tls", [True, False])
async def test_clear_bytes_behind_a_request_for_encryption_end_it(
    autojump_clock: MockClock, client_tls: ClientTls, request_: bytes, tls: bool
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls if tls else None
        client = world.dial_in()
        await client.send(request_ + STARTUP)
        said = await client.rest()
        assert shape(said) == "E(fatal 08P01)"
        assert "unencrypted data" in fields_of(said)["M"]


@pytest.mark.trio
@pytest.mark.parametrize(
    ("packet", "sqlstate"),
    [
        (b"\x00\x00\x00\x00", "08P01"),
        (b"\x00\x00\x00\x07", "08P01"),
        (b"\x00\x00\x27\x11", "54000"),
        (b"\xff\xff\xff\xff", "54000"),
        (b"GET / HTTP/1.1\r\n\r\n", "54000"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "54000"),
        (b"\x00\x00\x00\x08\x00\x02\x00\x00", "08P01"),
        (b"\x00\x00\x00\x09\x00\x03\x00\x00x", "08P01"),
        (b"\x00\x00\x00\x0c" + codes.UINT32.pack(codes.CANCEL_REQUEST) + b"\x00\x00\x00\x01", "08P01"),
        (encode.startup({"database": "app"}), "28000"),
        (encode.startup({"user": "", "database": "app"}), "28000"),
    ],
    ids=lambda value: repr(value)[:30],
)
async def test_first_packets_that_are_none(autojump_clock: MockClock, packet: bytes, sqlstate: str) -> None:
    async with open_world() as world:
        client = world.dial_in()
        await client.send(packet)
        assert shape(await client.rest()) == f"E(fatal {sqlstate})"


@pytest.mark.trio
@pytest.mark.parametrize("said", [b"", b"\x00", b"\x00\x00\x00\x08", STARTUP[:-1]])
@both_ways
async def test_client_leaves_before_it_has_said_who_it_is(autojump_clock: MockClock, by: By, said: bytes) -> None:
    async with open_world(by=by) as world:
        client = world.dial_in()
        if said:
            await client.send(said)
            await world.idle()
        await client.leave()
        await world.idle()
        assert client.connection.session is None
        await is_served(await world.connect())


@pytest.mark.trio
@pytest.mark.parametrize("said", [b"", b"\x00", b"\x00\x00\x00\x08", STARTUP[:-1], STARTUP])
async def test_slow_login_ends(autojump_clock: MockClock, said: bytes) -> None:
    async with open_world(config_of("client_login_timeout = 3000"), auth=account(AuthType.MD5)) as world:
        client = world.dial_in()
        began = trio.current_time()
        if said:
            await client.send(said)
        answer = await client.rest()
        assert shape(answer).endswith("E(fatal 57014)")
        assert 3 <= trio.current_time() - began < 3.5  # it is given a moment to read why


@pytest.mark.trio
async def test_dribbling_does_not_stretch_the_login(autojump_clock: MockClock) -> None:
    async with open_world(config_of("client_login_timeout = 3000")) as world:
        client = world.dial_in()
        startup = encode.startup({"user": "ann", "database": "app", "application_name": "x" * 100})
        with pytest.raises(trio.BrokenResourceError):
            await dribble(client, startup)
        assert trio.current_time() < 5


async def dribble(client: Client, data: bytes) -> None:
    for byte in data:
        await client.send(bytes([byte]))
        await trio.sleep(0.1)


# -- versions ------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize(
    ("protocol", "more", "answer", "secret_bytes"),
    [
        (codes.PROTOCOL_3_0, {}, b"", 4),
        (codes.PROTOCOL_3_2, {}, b"", 32),
        ((3 << 16) | 1, {}, encode.negotiate_protocol_version(codes.PROTOCOL_3_0, []), 4),
        ((3 << 16) | 3, {}, encode.negotiate_protocol_version(codes.PROTOCOL_3_2, []), 32),
        ((3 << 16) | 9999, {}, encode.negotiate_protocol_version(codes.PROTOCOL_3_2, []), 32),
        (
            codes.PROTOCOL_3_0,
            {"_pq_.test": "1", "_pq_.other": ""},
            encode.negotiate_protocol_version(codes.PROTOCOL_3_0, ["_pq_.test", "_pq_.other"]),
            4,
        ),
    ],
)
async def test_versions_and_protocol_options(
    autojump_clock: MockClock, protocol: int, more: dict[str, str], answer: bytes, secret_bytes: int
) -> None:
    async with open_world() as world:
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "app", **more}, protocol))
        said = await client.reply()
        assert said.startswith(answer + encode.authentication(codes.AUTH_OK))
        key = said[said.rindex(b"K\x00\x00\x00") :].removesuffix(READY)
        assert len(messages.backend_key_data(key[5:])[1]) == secret_bytes
        await is_served(client)


# -- passwords -----------------------------------------------------------------------------------------------------


async def log_in_md5(client: Client, password: str) -> bytes:
    await client.send(STARTUP)
    request = await client.message()
    kind, salt = messages.authentication(request[5:])
    assert kind == codes.AUTH_MD5
    await client.send(encode.password_message(md5_password("ann", password, salt)))
    return await client.reply()


async def log_in_scram(client: Client, password: str, end_point: bytes | None = None) -> bytes:
    """SCRAM as a client does it, to the end; the rest of what was said."""
    await client.send(STARTUP)
    kind, data = messages.authentication((await client.message())[5:])
    assert kind == codes.AUTH_SASL
    scram = ScramClient("ann", password, messages.sasl_mechanisms(data), end_point)
    await client.send(encode.sasl_initial_response(scram.mechanism, scram.first()))
    kind, data = messages.authentication((await client.message())[5:])
    assert kind == codes.AUTH_SASL_CONTINUE
    await client.send(encode.sasl_response(scram.final(data)))
    said = await client.reply()
    if said[:1] == b"R":
        scram.check(messages.authentication(said[5 : 1 + int.from_bytes(said[1:5])])[1])
    return said


EMPTY_PASSWORD = {AuthType.MD5: "28P01", AuthType.SCRAM: "08P01"}
"""For SCRAM an empty password message is none at all: it lacks the mechanism."""

LOG_IN = {AuthType.MD5: log_in_md5, AuthType.SCRAM: log_in_scram}


@pytest.mark.trio
@both_ways
@pytest.mark.parametrize("auth_type", list(LOG_IN))
async def test_right_password(autojump_clock: MockClock, by: By, auth_type: AuthType) -> None:
    async with open_world(by=by, auth=account(auth_type)) as world:
        client = world.dial_in()
        assert (await LOG_IN[auth_type](client, PASSWORD)).endswith(READY)
        await is_served(client)


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", list(LOG_IN))
async def test_unknown_user_is_told_the_same_as_one_with_a_wrong_password(
    autojump_clock: MockClock, auth_type: AuthType
) -> None:
    said = []
    for password in (PASSWORD, None):
        async with open_world(auth=account(auth_type, password)) as world:
            said.append(await LOG_IN[auth_type](world.dial_in(), "wrong"))
            assert world.primary.dials == 0
    assert said[0] == said[1]
    assert fields_of(said[0]) == {
        "S": "FATAL",
        "V": "FATAL",
        "C": "28P01",
        "M": 'password authentication failed for user "ann"',
    }


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", list(LOG_IN))
async def test_unknown_user_is_refused_whatever_the_password(autojump_clock: MockClock, auth_type: AuthType) -> None:
    async with open_world(auth=account(auth_type, None)) as world:
        said = await LOG_IN[auth_type](world.dial_in(), "nobody knows")
        assert shape(said) == "E(fatal 28P01)"


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", list(LOG_IN))
@pytest.mark.parametrize(
    ("answer", "sqlstate"),
    [
        (encode.query("SELECT 1"), "08P01"),
        (b"p\x00\x00\x00\x03", "08P01"),
        (b"p\x7f\xff\xff\xff", "08P01"),
        (b"p\x00\x00\x00\x04", "08P01"),
        (b"p\x00\x00\x00\x08abcd", "08P01"),
        (encode.password_message(b""), None),
    ],
)
async def test_answers_that_are_no_passwords(
    autojump_clock: MockClock, auth_type: AuthType, answer: bytes, sqlstate: str | None
) -> None:
    async with open_world(auth=account(auth_type)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        await client.message()
        await client.send(answer)
        assert shape(await client.rest()) == f"E(fatal {sqlstate or EMPTY_PASSWORD[auth_type]})"
        assert world.primary.dials == 0


@pytest.mark.trio
async def test_mechanism_that_was_not_offered(autojump_clock: MockClock) -> None:
    async with open_world(auth=account(AuthType.SCRAM)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        await client.message()
        await client.send(encode.sasl_initial_response(SCRAM_PLUS, b"p=tls-server-end-point,,n=,r=abc"))
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", list(LOG_IN))
async def test_client_leaves_when_it_is_asked_for_its_password(autojump_clock: MockClock, auth_type: AuthType) -> None:
    async with open_world(auth=account(auth_type)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        await client.message()
        await client.leave()
        await world.idle()
        assert client.connection.session is None
        assert world.primary.dials == 0


# -- TLS -----------------------------------------------------------------------------------------------------------


@pytest.mark.trio
@both_ways
async def test_tls(autojump_clock: MockClock, by: By, client_tls: ClientTls, trusting: ssl.SSLContext) -> None:
    async with open_world(by=by) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        assert await client.stream.receive_some(1) == b"S"
        await encrypt(client, trusting)
        await client.send(GSSENC_REQUEST)
        assert await client.stream.receive_some(10) == b"N"
        await client.send(STARTUP)
        await client.reply()
        await is_served(client)
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        await client.leave()
        await world.idle()
        assert world.counts() == (1, 1, 0)


@pytest.mark.trio
@both_ways
async def test_direct_tls(autojump_clock: MockClock, by: By, client_tls: ClientTls, trusting: ssl.SSLContext) -> None:
    trusting.set_alpn_protocols(["postgresql"])
    async with open_world(by=by) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await encrypt(client, trusting)
        await client.send(STARTUP)
        await client.reply()
        await is_served(client)


@pytest.mark.trio
async def test_direct_tls_needs_its_protocol_by_name(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await encrypt(client, trusting)
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
async def test_tls_is_not_begun_inside_tls(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        await client.send(encode.SSL_REQUEST)
        assert shape(await client.rest()) == "E(fatal 08P01)"


@pytest.mark.trio
@pytest.mark.parametrize("garbage", [b"\x00" * 100, STARTUP, b"\x16\x03\x01\x00\x05hello"])
async def test_handshake_with_nonsense_ends_that_connection_only(
    autojump_clock: MockClock, client_tls: ClientTls, garbage: bytes
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        assert await client.stream.receive_some(1) == b"S"
        await client.send(garbage)
        await client.rest()
        await is_served(await world.connect())


@pytest.mark.trio
async def test_handshake_that_stalls_is_bounded(autojump_clock: MockClock, client_tls: ClientTls) -> None:
    async with open_world(config_of("client_login_timeout = 3000")) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        began = trio.current_time()
        await client.rest()
        assert trio.current_time() - began < 6


@pytest.mark.trio
@pytest.mark.parametrize("auth_type", [AuthType.SCRAM, AuthType.SCRAM_PLUS])
@pytest.mark.parametrize("binding", [True, False])
async def test_channel_binding(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext, auth_type: AuthType, binding: bool
) -> None:
    async with open_world(auth=account(auth_type)) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        end_point = client_tls.end_point if binding else None
        if auth_type is AuthType.SCRAM_PLUS and not binding:
            with pytest.raises(AuthenticationFailed, match=f"only the SASL mechanisms {SCRAM_PLUS}"):
                await log_in_scram(client, PASSWORD, end_point)
        else:
            assert (await log_in_scram(client, PASSWORD, end_point)).endswith(READY)


@pytest.mark.trio
async def test_channel_binding_to_another_certificate_fails(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    """Somebody in between has a certificate of its own."""
    async with open_world(auth=account(AuthType.SCRAM)) as world:
        world.client_tls = client_tls
        client = world.dial_in()
        await client.send(encode.SSL_REQUEST)
        await client.stream.receive_some(1)
        await encrypt(client, trusting)
        assert shape(await log_in_scram(client, PASSWORD, b"x" * 32)).startswith("E(fatal ")


@pytest.mark.trio
async def test_plus_without_tls_is_refused(autojump_clock: MockClock) -> None:
    async with open_world(auth=account(AuthType.SCRAM_PLUS)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        said = await client.rest()
        assert shape(said) == "E(fatal 28000)"
        assert SCRAM not in said.decode()


@pytest.mark.trio
async def test_cancel_request_inside_tls(
    autojump_clock: MockClock, client_tls: ClientTls, trusting: ssl.SSLContext
) -> None:
    async with open_world() as world:
        world.client_tls = client_tls
        client = await world.connect()
        await client.send(encode.query("SELECT pg_sleep(100)"))
        await world.idle()
        messenger = world.dial_in()
        await messenger.send(encode.SSL_REQUEST)
        await messenger.stream.receive_some(1)
        await encrypt(messenger, trusting)
        await messenger.send(encode.cancel_request(*client.key))
        assert shape(await client.reply()) == "E(error 57014) ZI"


# -- the proxy's own rules -----------------------------------------------------------------------------------------


@pytest.mark.trio
async def test_pool_that_nobody_configured(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann", "database": "nowhere"}))
        assert shape(await client.rest()) == "E(fatal 28P01)"


@pytest.mark.trio
async def test_database_defaults_to_the_user(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        world.clusters["ann", "ann"] = world.cluster
        client = world.dial_in()
        await client.send(encode.startup({"user": "ann"}))
        assert (await client.reply()).endswith(READY)


@pytest.mark.trio
async def test_login_during_the_shutdown_is_told_so(autojump_clock: MockClock) -> None:
    async with open_world(auth=account(AuthType.MD5)) as world:
        client = world.dial_in()
        await client.send(STARTUP)
        await client.message()
        world.draining = True
        client.connection.drain()
        assert shape(await client.rest()) == "E(fatal 57P01)"


@pytest.mark.trio
async def test_reload_during_a_login_is_not_noticed(autojump_clock: MockClock) -> None:
    async with open_world() as world:
        gate = world.primary.hold("ready")
        client = world.dial_in()
        await client.send(STARTUP)
        await gate.reached.wait()
        cluster = world.cluster
        world.build()
        cluster.retire()
        gate.opened.set()
        assert (await client.reply()).endswith(READY)
        await is_served(client)
