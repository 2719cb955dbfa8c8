"""What a client asks for in its startup packet, and how it becomes settings that follow it from backend to backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..config.model import Role
from ..errors import InvalidAuthorization, ServerUnavailable
from ..pool.exchange import exchange
from ..pool.greetings import NOBODY_ELSE, identity
from ..pool.settings import USUAL, Settings, intern, settings_sql

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..pool.backend import Backend
    from ..pool.cluster import Cluster

_NOT_SETTINGS = frozenset(("user", "database", "options", "replication"))


def requested_settings(parameters: Mapping[str, str]) -> dict[str, str]:
    """The settings that a startup packet asks for, by name; ``options`` first, as PostgreSQL applies it first.

    Raises `InvalidAuthorization` for an ``options`` that cannot be read.
    """
    wanted = parse_options(parameters.get("options", ""))
    for name, value in parameters.items():
        if name not in _NOT_SETTINGS and not name.startswith("_pq_."):
            wanted[USUAL.canonical_name(name)] = value
    return wanted


def parse_options(options: str) -> dict[str, str]:
    """Read ``-c name=value`` and ``--name=value``, parted by white space that a backslash protects.

    PostgreSQL manual, "Connection Parameters" (options) and the server's pg_split_opts. Other command-line switches
    mean something to a server process of one's own, which nobody has behind a pool.
    """
    words = iter(_split_options(options))
    wanted: dict[str, str] = {}
    for word in words:
        if word == "-c":
            assignment = next(words, "")
        elif word.startswith("-c") or word.startswith("--"):
            assignment = word[2:]
        else:
            raise InvalidAuthorization(
                f"the proxy does not support {word!r} in the connection's options",
                hint="Use -c name=value or --name=value.",
            )
        name, equals, value = assignment.partition("=")
        if not name or not equals:
            raise InvalidAuthorization(
                f"the connection's options set {assignment!r} to no value", hint="Use -c name=value or --name=value."
            )
        wanted[USUAL.canonical_name(name.replace("-", "_"))] = value
    return wanted


def _split_options(options: str) -> list[str]:
    words: list[str] = []
    word: str | None = None
    characters = iter(options)
    for character in characters:
        if character.isspace():
            if word is not None:
                words.append(word)
                word = None
            continue
        word = (word or "") + (next(characters, "") if character == "\\" else character)
    return [*words, word] if word is not None else words


async def settle(cluster: Cluster, wanted: Mapping[str, str]) -> Settings:
    """The settings of a new session in the server's own spelling (``utf-8`` becomes ``UTF8``).

    Most values are known from earlier logins. New ones are tried on a backend, so that what the server refuses is
    refused at login, with the server's own `ServerError`. Raises what `Cluster.acquire` raises as well.
    """
    known = cluster.greetings.canonical
    who = identity(wanted)
    if (
        cluster.greetings.parameters is None
        or any(item not in known and not _evident(*item) for item in wanted.items())
        or (who != NOBODY_ELSE and who not in cluster.greetings.identities)
    ):
        await _try_out(cluster, wanted)
    assert cluster.greetings.parameters is not None
    values = dict(cluster.tracking.of(cluster.greetings.parameters.items()))
    values.update((name, known.get((name, value), value)) for name, value in wanted.items())
    return intern(values)


def _evident(name: str, value: str) -> bool:
    """True for a value that every server takes as it is: names differ from client to client, so none are remembered."""
    return name == "application_name" and len(value) < 64 and value.isascii() and value.isprintable()


async def _some_backend(cluster: Cluster) -> Backend:
    """One of the role where sessions are at home: another may refuse what that one takes. While it is down, any."""
    home = cluster.router.session
    try:
        return await cluster.acquire(home.role, home.fallback_to_primary, patient=False)
    except ServerUnavailable:
        return await cluster.acquire(Role.ANY, fallback_to_primary=True)


async def _try_out(cluster: Cluster, wanted: Mapping[str, str]) -> None:
    backend = await _some_backend(cluster)
    try:
        sql = settings_sql(backend.settings, intern({**backend.settings.values, **wanted}), backend.reported)
        if sql:
            await exchange(backend, sql)
        # What the server reports, it reports in its own spelling.
        spelled = {**wanted, **backend.settings.only(backend.reported).values}
        for name, value in wanted.items():
            cluster.greetings.learn(name, value, spelled[name])
        backend.settings = backend.settings.with_changes((name, spelled[name]) for name in wanted)
        if identity(wanted) != NOBODY_ELSE:
            cluster.greetings.learn_identity(wanted, backend.parameters)
    finally:
        backend.pool.release(backend)
