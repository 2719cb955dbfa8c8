"""From a client's first byte to the end of its login: packets, versions, time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from support.logins import GSSENC_REQUEST, STARTUP, account, is_served
from support.transcript import READY, fields_of, rows, shape
from support.world import By, Client, config_of, open_world

from pgcat_trio.config.model import AuthType
from pgcat_trio.wire import codes, encode, messages

if TYPE_CHECKING:
    from trio.testing import MockClock

    from pgcat_trio.session.gateway import ClientTls

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])


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
