"""The programs that run the scenarios, one for each driver (and for each of its ways that matter): who can do what.

A program runs scenarios with one driver and prints one JSON object a line, ``{"scenario": NAME, "outcome": ANY}``, and
nothing else on its standard output. Errors that belong to a scenario are part of its outcome; when the program itself
fails, it exits with another code than 0 and says why on its standard error. Its arguments are the names of the
scenarios to run, none for all that it has. Where to connect is in the environment: PGHOST, PGPORT, PGUSER, PGPASSWORD,
PGDATABASE and PGSSLMODE. Scenarios run one after the other, and each closes the connections that it opens.

An outcome is the same on every run: it holds no process ids, times, ports, durations, or oids of what it made. Never
do more than two connections of a scenario hold a transaction or a state of the session at the same time, for there are
two connections to the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

SCENARIOS: Final = (
    *("types_text", "types_binary", "large_values"),
    *("prepared", "prepared_many_clients", "prepared_reuse_after_error", "unprepared_parameters", "many_statements"),
    *("pipeline", "batch", "cursor", "copy_in", "copy_out", "copy_in_error"),
    *("cancel", "statement_timeout", "notices", "errors", "errors_in_transaction", "transactions"),
    *("session_settings", "startup_settings", "listen_notify", "advisory_locks", "temp_tables"),
    *("schema_change", "empty_and_multi", "server_info", "connection_lost"),
)
"""What a program does, unless its row says what it does without."""


@attrs.frozen(kw_only=True)
class Program:
    """A program and what it takes to build and run it.

    Args:
        name: of the driver, and of its way where there are several; stands in the ids of the tests.
        tools: programs that must be on the PATH; where one is missing, this program is skipped.
        directory: below this file's, the working directory of all commands.
        install: gets the dependencies; where that fails, the program is skipped.
        build: compiles; it is an error where that fails.
        run: the program. The names of scenarios may be appended.
        without: the scenarios that it does not have, and why.
        also: scenarios that only it has.

    In the commands ``$BUILD_DIR`` is a directory for what is built, which stays from one run of the tests to the next,
    and ``python`` is the interpreter that runs the tests. Programs of one directory with equal commands share them.
    """

    name: str
    tools: tuple[str, ...] = ()
    directory: str
    install: tuple[str, ...] = ()
    build: tuple[str, ...] = ()
    run: tuple[str, ...]
    without: Mapping[str, str] = attrs.field(factory=dict)
    also: tuple[str, ...] = ()

    @property
    def scenarios(self) -> tuple[str, ...]:
        """The names of all its scenarios."""
        return (*(name for name in SCENARIOS if name not in self.without), *self.also)


def all_but(*names: str, reason: str) -> dict[str, str]:
    """What a program is without that has only these scenarios."""
    return {name: reason for name in SCENARIOS if name not in names}


NO_PIPELINE: Final = {"pipeline": "the driver waits for each answer"}
PG8000_LACKS: Final = {
    **NO_PIPELINE,
    "types_binary": "the driver knows text only",
    "cancel": "the driver cannot cancel",
    "batch": "executemany belongs to the DB-API",
}
AS_ITS_DRIVER: Final = "as with the driver under it"

PYTHON: Final = (
    Program(name="psycopg", directory="python", run=("python", "psycopg_sync.py"), also=("held_cursor",)),
    Program(
        name="psycopg-binary-prepared",
        directory="python",
        run=("python", "psycopg_sync.py", "--binary", "--threshold-0"),
        also=("held_cursor",),
    ),
    Program(
        name="psycopg-client",
        directory="python",
        run=("python", "psycopg_sync.py", "--client"),
        without={"types_binary": "simple queries answer in text"},
        also=("held_cursor",),
    ),
    Program(
        name="psycopg-async",
        directory="python",
        run=("python", "psycopg_async.py"),
        without=all_but(
            *("prepared_many_clients", "prepared_reuse_after_error", "pipeline", "batch", "cursor", "copy_in"),
            *("cancel", "listen_notify"),
            reason="as with psycopg",
        ),
    ),
    Program(
        name="asyncpg",
        directory="python",
        run=("python", "asyncpg_program.py"),
        without={"types_text": "the driver knows binary only", **NO_PIPELINE},
        also=("custom_types",),
    ),
    Program(
        name="asyncpg-no-cache",
        directory="python",
        run=("python", "asyncpg_program.py", "--no-cache"),
        without={"types_text": "the driver knows binary only", **NO_PIPELINE},
        also=("custom_types",),
    ),
    Program(name="pg8000", directory="python", run=("python", "pg8000_native.py"), without=PG8000_LACKS),
    Program(
        name="pg8000-dbapi",
        directory="python",
        run=("python", "pg8000_dbapi.py"),
        without=all_but("types_text", "batch", "transactions", "errors_in_transaction", reason="as with pg8000"),
    ),
    *(
        Program(
            name=f"sqlalchemy-{driver}",
            directory="python",
            run=("python", "sqlalchemy_sync.py", f"--{driver}"),
            without=all_but(
                *("types_text", "large_values", "prepared_many_clients", "batch", "cursor", "transactions", "errors"),
                *("session_settings", "server_info"),
                reason=AS_ITS_DRIVER,
            ),
        )
        for driver in ("psycopg", "pg8000")
    ),
    Program(
        name="sqlalchemy-asyncpg",
        directory="python",
        run=("python", "sqlalchemy_async.py"),
        without=all_but(
            *("types_binary", "prepared_many_clients", "many_statements", "schema_change", "batch", "cursor"),
            *("cancel", "errors_in_transaction"),
            reason=AS_ITS_DRIVER,
        ),
    ),
)
"""Programs whose drivers are among the development dependencies: a part of the ordinary tests."""

JAVASCRIPT: Final = (
    Program(
        name="node_postgres",
        tools=("node", "npm"),
        directory="javascript",
        install=("npm", "ci"),
        run=("node", "node_postgres.mjs"),
        without={"batch": "it sends one set of parameters a query; several queries without waiting are `pipeline`"},
    ),
    Program(
        name="postgres_js",
        tools=("node", "npm"),
        directory="javascript",
        install=("npm", "ci"),
        run=("node", "postgres_js.mjs"),
        without={"types_binary": "it knows no values in binary"},
    ),
)

GO: Final = (
    Program(
        name="pgx",
        tools=("go",),
        directory="go",
        install=("go", "mod", "download"),
        build=("go", "build", "-o", "$BUILD_DIR/pgx", "./pgx"),
        run=("$BUILD_DIR/pgx",),
        also=("described_first",),
    ),
    Program(
        name="pq",
        tools=("go",),
        directory="go",
        install=("go", "mod", "download"),
        build=("go", "build", "-o", "$BUILD_DIR/pq", "./pq"),
        run=("$BUILD_DIR/pq",),
        without={
            "pipeline": "it waits for the answer to each request",
            "batch": "it has none",
            "copy_out": "it knows COPY FROM only",
            "server_info": "it keeps to itself what servers say of themselves",
        },
    ),
)

JAVA: Final = tuple(
    Program(
        name=name,
        tools=("java", "mvn"),
        directory="java",
        # The help of the compiler's plugin brings the plugin, and says nothing.
        install=("mvn", "-q", "-B", "dependency:copy-dependencies", "compiler:help", "-Doutput=$BUILD_DIR"),
        build=("mvn", "-o", "-q", "-B", "compiler:compile", "-Doutput=$BUILD_DIR"),
        run=("java", f"-Dpgjdbc={options}", "-cp", "$BUILD_DIR/classes:$BUILD_DIR/jars/*", "drivers.Main"),
        without={"pipeline": "pgjdbc pipelines nothing but batches and strings of several statements"},
        also=("autosave", "batch_rewritten", "metadata"),
    )
    for name, options in {
        "pgjdbc": "",
        "pgjdbc-prepared": "prepareThreshold=1",
        "pgjdbc-simple": "preferQueryMode=simple",
    }.items()
)

RUST: Final = tuple(
    Program(
        name=name,
        tools=("cargo",),
        directory="rust",
        install=("cargo", "fetch", "--quiet"),
        build=("cargo", "build", "--quiet", "--offline", "--target-dir", "$BUILD_DIR"),
        run=(f"$BUILD_DIR/debug/with_{name.replace('-', '_')}",),
        without=without,
        also=also,
    )
    for name, without, also in (
        (
            "tokio-postgres",
            {"batch": "tokio-postgres has no batches, but requests in a pipeline"},
            ("driver_transactions",),
        ),
        (
            "sqlx",
            {
                "pipeline": "sqlx sends one request at a time",
                "batch": "sqlx has no batches",
                "cancel": "sqlx sends no cancel requests",
                "notices": "sqlx gives notices to its log only",
            },
            ("driver_locks", "driver_transactions", "statement_cache"),
        ),
    )
)

PROGRAMS: Final = (*PYTHON, *JAVASCRIPT, *GO, *JAVA, *RUST)
