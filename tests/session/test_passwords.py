"""How clients prove who they are, and what those are told who cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.logins import LOG_IN, PASSWORD, STARTUP, account, is_served
from support.transcript import READY, fields_of, shape
from support.world import By, open_world

from pgcat_trio.config.model import AuthType
from pgcat_trio.wire import encode
from pgcat_trio.wire.scram import SCRAM_PLUS

if TYPE_CHECKING:
    from trio.testing import MockClock

both_ways = pytest.mark.parametrize("by", ["memory", "sockets"])

EMPTY_PASSWORD = {AuthType.MD5: "28P01", AuthType.SCRAM: "08P01"}
"""For SCRAM an empty password message is none at all: it lacks the mechanism."""


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
