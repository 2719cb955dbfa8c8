"""TLS of the proxy towards its clients."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest
from support.certificates import Authority

from pgcat_trio.net.tls import client_facing_context, own_certificate
from pgcat_trio.session.gateway import ClientTls
from pgcat_trio.wire.scram import server_end_point

if TYPE_CHECKING:
    from pathlib import Path


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
