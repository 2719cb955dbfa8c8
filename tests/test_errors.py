"""The errors that the proxy makes itself: each has a place in PostgreSQL's vocabulary, and says what to do about it."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgcat_trio import errors
from pgcat_trio.pool.waiting import ClusterRetired
from pgcat_trio.wire import encode, messages

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(errors.__file__).parent

WITHOUT_A_HINT = {
    errors.ConfigError: "its problems say what to do, each with its line",
    errors.BindError: "for the operator, in the system's words",
    errors.ProtocolViolation: "the client has a bug, which its user cannot mend",
    errors.AuthenticationFailed: "nothing may be learnt from it",
    errors.InFailedTransaction: "the first error is what counts",
    errors.DuplicateStatement: "as PostgreSQL's own",
    errors.UnknownName: "as PostgreSQL's own",
    errors.QueryCanceled: "who cancelled it knows",
    errors.ServerError: "the words are the server's",
    errors.LoginRefused: "the server's words, with hints by SQLSTATE",
    ClusterRetired: "nobody is told",
}
"""Errors that may be made without a hint, and why. Those derived from them are not meant."""


def subclasses(cls: type[errors.ProxyError]) -> Iterator[type[errors.ProxyError]]:
    for each in cls.__subclasses__():
        yield each
        yield from subclasses(each)


CLASSES = {cls.__name__: cls for cls in subclasses(errors.ProxyError)}
every_class = pytest.mark.parametrize("cls", CLASSES.values(), ids=CLASSES)


def calls() -> Iterator[tuple[str, type[errors.ProxyError], ast.Call]]:
    """Every place in the package where an error is made: where, which, how."""
    for file in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in CLASSES:
                yield f"{file.relative_to(PACKAGE)}:{node.lineno}", CLASSES[node.func.id], node


def texts(node: ast.AST | None) -> list[str]:
    """What is known of a text before it is made: constants, and f-strings with their values left out."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return ["".join(part.value if isinstance(part, ast.Constant) else "X1" for part in node.values)]
    if isinstance(node, ast.IfExp):
        return texts(node.body) + texts(node.orelse)
    return []


def hint_of(call: ast.Call) -> ast.AST | None:
    return next((keyword.value for keyword in call.keywords if keyword.arg == "hint"), None)


def test_the_package_makes_errors_of_every_class() -> None:
    """Else the walk below would prove nothing."""
    assert {cls for _, cls, _ in calls()} == set(CLASSES.values())


@every_class
def test_sqlstates_are_postgresqls(cls: type[errors.ProxyError]) -> None:
    psycopg.errors.lookup(cls.sqlstate)


def test_who_can_act_is_told_how() -> None:
    silent = [
        where
        for where, cls, call in calls()
        if cls not in WITHOUT_A_HINT and cls.default_hint is None and hint_of(call) is None
    ]
    assert silent == []


def test_texts_are_in_postgresqls_manner() -> None:
    """Messages begin small and have no full stop, hints are sentences (PostgreSQL manual, "Error Style Guide")."""
    wrong = []
    for where, _, call in calls():
        for text in texts(call.args[0] if call.args else None):
            word = text.split()[0]
            if text.endswith(".") or not (word[0].islower() or word.isupper() or not word.isalpha()):
                wrong.append((where, text))
        wrong += [(where, text) for text in texts(hint_of(call)) if not text.endswith(".") or text[0].islower()]
    wrong += [(name, hint) for name, cls in CLASSES.items() if (hint := cls.default_hint) and not hint.endswith(".")]
    assert wrong == []


@pytest.mark.parametrize("severity", [None, "ERROR", "FATAL"])
@every_class
def test_fields_on_the_wire(cls: type[errors.ProxyError], severity: str | None) -> None:
    if issubclass(cls, errors.ServerError):
        return
    error = cls("what happened")
    fields = messages.error_fields(encode.error_response(error, severity)[5:])
    expected = {"S": severity or cls.severity, "V": severity or cls.severity, "C": cls.sqlstate, "M": "what happened"}
    assert fields == (expected if cls.default_hint is None else expected | {"H": cls.default_hint})


def test_a_servers_own_error_keeps_all_but_its_severity() -> None:
    said = {"S": "FATAL", "V": "FATAL", "C": "57P01", "M": "goodbye", "D": "d", "H": "h", "F": "postgres.c", "L": "1"}
    error = errors.ServerError(said, hint="ours")
    assert messages.error_fields(encode.error_response(error)[5:]) == {**said, "S": "ERROR", "V": "ERROR"}
    assert messages.error_fields(encode.error_response(error, "FATAL")[5:]) == said
    del said["H"]
    assert errors.ServerError(said, hint="ours").hint == "ours"


def test_a_refused_login_is_the_proxys_and_in_the_servers_words() -> None:
    error = errors.LoginRefused("db1:5432", {"S": "FATAL", "C": "28P01", "M": "no", "R": "auth_failed"})
    fields = messages.error_fields(encode.error_response(error)[5:])
    assert fields == {
        "S": "ERROR",
        "V": "ERROR",
        "C": "28P01",
        "M": "server db1:5432 refused the proxy's login: no",
        "H": "Check server_username and server_password in the proxy's configuration.",
        "R": "auth_failed",
    }
    assert error.reason == "no"
