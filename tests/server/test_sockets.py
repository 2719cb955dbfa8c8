"""Where the listening sockets come from."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from pgcat_trio import parse_config
from pgcat_trio.errors import BindError
from pgcat_trio.server.sockets import HANDOVER_VARIABLE, Legacy, handed_over, open_listeners, take_legacy

if TYPE_CHECKING:
    from pathlib import Path

    from pgcat_trio.config.model import General


@pytest.fixture
def general() -> General:
    text = """
[general]
host = "127.0.0.1"
port = 0
admin_username = "admin"
admin_password = "x"
[pools.app.users.0]
username = "app"
password = "x"
pool_size = 1
[pools.app.shards.0]
database = "app"
servers = [["127.0.0.1", 1, "primary"]]
"""
    return parse_config(text).general


@pytest.mark.trio
@pytest.mark.parametrize("address", [None, ("127.0.0.1", 0)])
async def test_a_legacy_is_used(general: General, address: tuple[str, int] | None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as given:
        [listener] = await open_listeners(general, Legacy([given], address))
        assert listener.socket.getsockname() == given.getsockname()


@pytest.mark.trio
async def test_a_legacy_for_another_address_is_not(general: General) -> None:
    given = socket.create_server(("127.0.0.1", 0))
    [listener] = await open_listeners(general, Legacy([given], ("127.0.0.1", 6432)))
    with listener.socket:
        assert given.fileno() == -1
        async with await trio.open_tcp_stream(*listener.socket.getsockname()):
            pass


@pytest.mark.trio
async def test_what_does_not_listen_is_refused(general: General, tmp_path: Path) -> None:
    with socket.socket() as deaf, pytest.raises(BindError, match="does not listen"):
        await open_listeners(general, Legacy([deaf]))
    with socket.socket(socket.AF_UNIX) as local:
        local.bind(str(tmp_path / "socket"))
        local.listen()
        with pytest.raises(BindError, match="not for TCP"):
            await open_listeners(general, Legacy([local]))


def test_what_is_handed_over_arrives() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours, theirs = socket.socketpair()
        numbers = [os.dup(listener.fileno()), theirs.detach()]
        environ = {HANDOVER_VARIABLE: handed_over(numbers[:1], ("*", 6432), numbers[1]), "HOME": "/"}
        legacy = take_legacy(environ)
        assert legacy is not None
        assert environ == {"HOME": "/"}
        assert legacy.control is not None
        with legacy.control, legacy.sockets[0] as sock, ours:
            assert (sock.getsockname(), legacy.address) == (listener.getsockname(), ("*", 6432))
            assert not sock.get_inheritable()
            legacy.control.send(b"x")
            assert ours.recv(1) == b"x"


def test_what_is_meant_for_others_is_not_taken() -> None:
    environ = {"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x"}
    assert take_legacy(environ) is None
    assert environ == {}
    assert take_legacy({}) is None


def test_what_is_not_there_is_an_error() -> None:
    with pytest.raises(BindError, match="Bad file descriptor"):
        take_legacy({HANDOVER_VARIABLE: handed_over([99999], ("*", 6432), 99998)})
