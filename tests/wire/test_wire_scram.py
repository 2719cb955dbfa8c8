"""SCRAM and md5, by the specifications' own examples, between our two halves, and with peers who wish us ill."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from chunks import operations
from hypothesis import given
from hypothesis import strategies as st

from pgcat_trio.errors import AuthenticationFailed, ProtocolViolation
from pgcat_trio.wire.scram import (
    ITERATIONS,
    MAX_ITERATIONS,
    SCRAM,
    SCRAM_PLUS,
    ScramClient,
    ScramServer,
    ScramVerifier,
    md5_password,
    prepared,
)

VERIFIER = ScramVerifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="))


def log_in(client: ScramClient, server: ScramServer) -> None:
    """All four messages; returns if each side is convinced of the other."""
    client.check(server.final(client.final(server.first(client.first()))))


# -- the specifications' examples ----------------------------------------------------------------------------------


def test_the_server_answers_as_rfc_7677_says() -> None:
    server = ScramServer(VERIFIER, SCRAM, None, nonce="%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
    assert server.first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO") == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert (
        server.final(
            b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
            b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        )
        == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )


def test_the_client_proves_what_the_specification_computes() -> None:
    """RFC 5802, section 3, spelled out with hashlib alone: our client's name is "*", so its proof is in no RFC."""
    client = ScramClient("user", "pencil", [SCRAM], None, nonce="rOprNGfwEbeRWgbNEkqO")
    assert client.first() == b"n,,n=*,r=rOprNGfwEbeRWgbNEkqO"
    server_first = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    without_proof, _, proof = client.final(server_first).rpartition(b",p=")
    assert without_proof == b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="), 4096)
    signed = b",".join([b"n=*,r=rOprNGfwEbeRWgbNEkqO", server_first, without_proof])
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
    assert base64.b64decode(proof) == bytes(a ^ b for a, b in zip(key, signature, strict=True))
    answer = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
    client.check(b"v=" + base64.b64encode(answer))


def test_libpq_names_nobody_and_its_signature_covers_that() -> None:
    """The exchange of a libpq ("n=,") with the password foobar, seen by a server that holds its salt and nonce."""
    verifier = ScramVerifier("foobar", base64.b64decode("fs3IXBy7U7+IvVjZ"))
    server = ScramServer(verifier, SCRAM, None, nonce="jx/oIRLs02gGSHcw1KEty3eY")
    assert server.first(b"n,,n=,r=9IZ2O01zb9IgiIZ1WJ/zgpJB") == (
        b"r=9IZ2O01zb9IgiIZ1WJ/zgpJBjx/oIRLs02gGSHcw1KEty3eY,s=fs3IXBy7U7+IvVjZ,i=4096"
    )
    assert (
        server.final(
            b"c=biws,r=9IZ2O01zb9IgiIZ1WJ/zgpJBjx/oIRLs02gGSHcw1KEty3eY,p=AmNKosjJzS31NTlQYNs5BTeQjdHdk7lOflDo5re2an8="
        )
        == b"v=U+ppxD5XUKtradnv8e2MkeupiA8FU87Sg8CXzXHDAzw="
    )


def test_md5_is_what_postgresql_computes() -> None:
    inner = hashlib.md5(b"secretme").hexdigest().encode()
    assert md5_password("me", "secret", b"salt") == b"md5" + hashlib.md5(inner + b"salt").hexdigest().encode()


def test_md5_takes_a_user_who_is_not_utf8() -> None:
    assert md5_password("\udcff", "secret", b"salt") != md5_password("\udcfe", "secret", b"salt")


# -- both halves ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "password",
    ["pencil", "", "with, comma=", "tab\there", "\N{GRINNING FACE}", "\N{SOFT HYPHEN}", "\N{NO-BREAK SPACE}é"],
)
def test_every_password_that_postgresql_takes_logs_in(password: str) -> None:
    log_in(ScramClient("me", password, [SCRAM], None), ScramServer(ScramVerifier(password), SCRAM, None))


@pytest.mark.parametrize(
    ("password", "hashed"),
    [
        ("plain", b"plain"),
        ("I\N{SOFT HYPHEN}X", b"IX"),
        ("\N{ROMAN NUMERAL NINE}", b"IX"),
        ("a\N{NO-BREAK SPACE}b", b"a b"),
        ("\N{SOFT HYPHEN}", "\N{SOFT HYPHEN}".encode()),
        ("\N{ARABIC LETTER ALEF}1", "\N{ARABIC LETTER ALEF}1".encode()),
        ("\N{GRINNING FACE}", "\N{GRINNING FACE}".encode()),
    ],
)
def test_passwords_are_prepared_where_that_is_allowed_and_taken_raw_elsewhere(password: str, hashed: bytes) -> None:
    assert prepared(password) == hashed


@pytest.mark.parametrize("user", ["", "me", "a,b=c", "tab\t", "\udcff", "\N{ARABIC LETTER ALEF}a"])
def test_the_users_name_is_not_scrams_business(user: str) -> None:
    log_in(ScramClient(user, "pencil", [SCRAM], None), ScramServer(VERIFIER, SCRAM, None))


@pytest.mark.parametrize("offered", [[SCRAM_PLUS, SCRAM], [SCRAM_PLUS], [SCRAM, "UNKNOWN"]])
def test_the_channel_is_bound_where_both_can(offered: list[str]) -> None:
    client = ScramClient("me", "pencil", offered, b"certificate's hash")
    assert client.mechanism == (SCRAM_PLUS if SCRAM_PLUS in offered else SCRAM)
    end_point = b"certificate's hash" if SCRAM_PLUS in offered else None
    log_in(client, ScramServer(VERIFIER, client.mechanism, end_point))


def test_without_tls_the_channel_is_not_bound() -> None:
    assert ScramClient("me", "pencil", [SCRAM_PLUS, SCRAM], None).mechanism == SCRAM


def test_a_channel_that_ends_elsewhere_is_refused() -> None:
    client = ScramClient("me", "pencil", [SCRAM_PLUS], b"the attacker's hash")
    with pytest.raises(AuthenticationFailed):
        log_in(client, ScramServer(VERIFIER, SCRAM_PLUS, b"our hash"))


def test_a_client_that_was_told_of_no_plus_is_refused_by_a_server_that_has_it() -> None:
    """Somebody in between took SCRAM-SHA-256-PLUS off the list (RFC 5802, section 6)."""
    client = ScramClient("me", "pencil", [SCRAM], b"hash")
    with pytest.raises(AuthenticationFailed):
        log_in(client, ScramServer(VERIFIER, SCRAM, b"hash"))


@pytest.mark.parametrize("offered", [[], ["SCRAM-SHA-1"], [SCRAM_PLUS], [""]])
def test_a_server_without_a_mechanism_of_ours_is_refused(offered: list[str]) -> None:
    with pytest.raises(AuthenticationFailed, match="offers only"):
        ScramClient("me", "pencil", offered, None)


# -- the wrong, and the ill-meant ----------------------------------------------------------------------------------


def test_a_wrong_password_fails_the_login_and_is_no_violation() -> None:
    client = ScramClient("me", "wrong", [SCRAM], None)
    with pytest.raises(AuthenticationFailed, match="does not match"):
        log_in(client, ScramServer(VERIFIER, SCRAM, None))


@pytest.mark.parametrize("final", [b"v=AAAA", b"v=" + base64.b64encode(bytes(32)), b"e=invalid-proof", b"", b"\xff"])
def test_a_server_that_does_not_know_the_password_is_refused(final: bytes) -> None:
    client, server = ScramClient("me", "pencil", [SCRAM], None), ScramServer(VERIFIER, SCRAM, None)
    client.final(server.first(client.first()))
    with pytest.raises(AuthenticationFailed):
        client.check(final)


def test_the_servers_proof_cannot_come_before_ours() -> None:
    client = ScramClient("me", "pencil", [SCRAM], None)
    client.first()
    with pytest.raises(AuthenticationFailed):
        client.check(b"v=" + base64.b64encode(bytes(32)))


@pytest.mark.parametrize(
    "client_first",
    [
        b"",
        b"n",
        b"n,",
        b"n,,",
        b"n,,n=,",
        b"n,,n=,r=",
        b"n,,r=abc",
        b"n,,n=a,n=b,r=abc",
        b"n,,m=ext,n=,r=abc",
        b"n,a=other,n=,r=abc",
        b"x,,n=,r=abc",
        b"p=tls-unique,,n=,r=abc",
        b"n,,n=,r=\xff\xfe",
        b"n,,n=,r=a\x00b",
        b"n,,n==,r=abc",
    ],
)
def test_a_malformed_first_message_is_a_violation(client_first: bytes) -> None:
    with pytest.raises(ProtocolViolation, match="SCRAM"):
        ScramServer(VERIFIER, SCRAM, None).first(client_first)


def test_malformed_final_messages_are_violations() -> None:
    client = ScramClient("me", "pencil", [SCRAM], None)
    server_first = ScramServer(VERIFIER, SCRAM, None)
    good = client.final(server_first.first(client.first()))
    for bad in (b"", good[:-3], good.replace(b"c=biws", b"c=eSws"), good.replace(b",p=", b",q="), good + b",p=AAAA"):
        fresh = ScramClient("me", "pencil", [SCRAM], None)
        server = ScramServer(VERIFIER, SCRAM, None)
        fresh.final(server.first(fresh.first()))
        with pytest.raises((ProtocolViolation, AuthenticationFailed)):
            server.final(bad)


def test_a_final_message_without_a_first_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        ScramServer(VERIFIER, SCRAM, None).final(b"c=biws,r=abc,p=AAAA")


@given(st.binary(max_size=80), st.booleans())
def test_any_bytes_of_a_client_are_refused_in_the_same_ways(data: bytes, first: bool) -> None:
    server = ScramServer(VERIFIER, SCRAM, None)
    try:
        server.first(data if first else b"n,,n=,r=abcdefgh")
        server.final(data)
    except (ProtocolViolation, AuthenticationFailed):
        return
    pytest.fail("these bytes know no password")


NONCE = "rOprNGfwEbeRWgbNEkqO"
SALT = "s=W22ZaJ0SNY7soEsUEjb6gQ=="


@pytest.mark.parametrize(
    "server_first",
    [
        "",
        "r=,s=,i=",
        f"r={NONCE}x",
        f"r={NONCE}x,{SALT}",
        f"{SALT},r={NONCE}x,i=4096",
        f"r={NONCE},{SALT},i=4096",  # adds nothing of its own
        f"r=somebodyelses,{SALT},i=4096",
        f"m=ext,r={NONCE}x,{SALT},i=4096",
        f"r={NONCE}x,s=!,i=4096",
        f"r={NONCE}x,{SALT},i=-1",
        f"r={NONCE}x,{SALT},i=0",
        f"r={NONCE}x,{SALT},i=1",  # weaker than any PostgreSQL's default: a thief's server would ask for it
        f"r={NONCE}x,{SALT},i=04096",
        f"r={NONCE}x,{SALT},i=4096x",
        f"r={NONCE}x,{SALT},i=\N{FULLWIDTH DIGIT FOUR}096",
        f"r={NONCE}x,{SALT},i={MAX_ITERATIONS + 1}",
        f"r={NONCE}x,{SALT},i=2147483648",
        f"r={NONCE}x,{SALT},i=" + "9" * 9000,
        "e=other-error",
        f"r={NONCE}\xa0,{SALT},i=4096",
    ],
)
def test_a_hostile_servers_first_message_is_refused_before_any_work(server_first: str) -> None:
    client = ScramClient("me", "pencil", [SCRAM], None, nonce=NONCE)
    client.first()
    with pytest.raises(ProtocolViolation, match="server") as caught:
        client.final(server_first.encode())
    assert "pencil" not in str(caught.value)


def test_a_servers_first_message_that_is_not_text_is_refused() -> None:
    client = ScramClient("me", "pencil", [SCRAM], None, nonce=NONCE)
    client.first()
    with pytest.raises(ProtocolViolation):
        client.final(b"r=\xff")


def test_a_long_nonce_costs_no_more_than_its_length() -> None:
    def answered(length: int) -> int:
        client = ScramClient("me", "pencil", [SCRAM], None, nonce=NONCE)
        client.first()
        return operations(lambda: client.final(f"r={NONCE}{'x' * length},{SALT},i={ITERATIONS}".encode()))

    assert answered(8000) < 2.2 * answered(4000)
