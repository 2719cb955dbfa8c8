"""What clients send, a message each: for the model of the server and for the server itself."""

from __future__ import annotations

from server_model import (
    BAD_DATA,
    COPY_DONE,
    COPY_FAIL,
    DATA,
    FLUSH,
    FUNCTION,
    SYNC,
    execute,
    query,
)

REQUESTS: list[list[bytes]] = [
    [query("ok")],
    [query("error")],
    [FUNCTION],
    [SYNC],
    [execute("ok"), SYNC],
    [execute("error"), SYNC],
    [execute("ok"), FLUSH, execute("ok"), SYNC],
    [execute("ok"), FLUSH, execute("error"), execute("ok"), SYNC],
    # COPY, simple: the client may send all at once, and goes on until it sees the error.
    [query("copy"), DATA, DATA, COPY_DONE],
    [query("copy"), COPY_DONE],
    [query("copy"), DATA, COPY_FAIL],
    [query("copy"), BAD_DATA, DATA, COPY_DONE],
    [query("refuse"), DATA, COPY_DONE],
    [query("error"), DATA, COPY_DONE],
    # COPY, extended, as the manual wants it ...
    [execute("copy"), DATA, COPY_DONE, SYNC],
    [execute("copy"), FLUSH, DATA, COPY_FAIL, SYNC],
    [execute("copy"), BAD_DATA, COPY_DONE, SYNC],
    [execute("refuse"), DATA, COPY_DONE, SYNC],
    [execute("error"), DATA, COPY_DONE, SYNC],
    [execute("ok"), execute("copy"), DATA, COPY_DONE, execute("ok"), SYNC],
    # ... and as libpq does it: a Sync with the Execute, which the server ignores if it reads copy data by then.
    [execute("copy"), SYNC, DATA, COPY_DONE, SYNC],
    [execute("error"), SYNC, DATA, COPY_DONE, SYNC],
]
IN_DOUBT: list[list[bytes]] = [
    [execute("copy"), SYNC, DATA, COPY_FAIL, SYNC],
    [execute("copy"), SYNC, BAD_DATA, COPY_DONE, SYNC],
    [execute("refuse"), SYNC, DATA, COPY_DONE, SYNC],
]
"""From outside nobody can tell the second from the third, of which the server answers the first Sync, too."""

MIXED: list[list[bytes]] = [
    [execute("error"), query("ok"), SYNC],
    [execute("ok"), query("ok"), SYNC],
    [execute("ok"), query("error"), SYNC],
    [COPY_DONE, DATA, COPY_FAIL, query("ok")],
    [SYNC, SYNC],
    [query("copy"), SYNC, FLUSH, DATA, COPY_DONE],
    [query("copy"), BAD_DATA, query("ok")],
    [query("copy"), BAD_DATA, execute("ok"), SYNC],
    [query("copy"), BAD_DATA, SYNC, SYNC],
    [execute("copy"), BAD_DATA, query("ok"), execute("ok"), SYNC],
]
"""What no driver does and some client will."""
