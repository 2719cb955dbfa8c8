"""The command line. Here, and nowhere else, ``trio.run`` is called.

    pgcat-trio [CONFIG]      serve until SIGINT or SIGTERM
    pgcat-trio check FILE    say everything that is wrong with a configuration
    pgcat-trio explain FILE SQL
                             say where statements would go, and why
    pgcat-trio plan [OLD] NEW
                             say what a reload would change
    pgcat-trio demo          a cluster, the proxy and a workload to look at

Exit codes: 0 after a clean shutdown, 78 (EX_CONFIG of sysexits.h, as PgCat's) for a configuration that cannot be used
or a port that cannot be bound, 2 for a wrong command line or input.
"""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final, cast

import structlog
import trio
from trio_util import wait_any

from ._version import __version__
from .config import diff, load_config
from .errors import BindError, ConfigError
from .net.tls import client_facing_context, server_facing_context
from .observe import log as observe_log
from .server import explaining, signals
from .server.handover import Predecessor
from .server.notify import notify_ready
from .server.sockets import take_legacy
from .server.supervisor import Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .config import Config

EX_CONFIG: Final = 78
INTERRUPTED: Final = 130
"""128 + SIGINT, as shells have it."""

log = structlog.get_logger("pgcat_trio")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command line, ``sys.argv``'s by default; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command = COMMANDS.get(arguments[0]) if arguments else None
    try:
        return command(arguments[1:]) if command is not None else _serve(arguments)
    except KeyboardInterrupt:  # before or after the time in which signals are ours
        return INTERRUPTED


# -- pgcat-trio [CONFIG] -------------------------------------------------------------------------------------------


def _serve(arguments: Sequence[str]) -> int:
    options = _serve_parser().parse_args(arguments)
    _configure_log(options)
    try:
        trio.run(_run, options.config)
    except* (ConfigError, BindError) as group:
        _complain(_problems(group, options.config))
        return_code = EX_CONFIG
    else:
        return_code = 0
    return return_code


async def _run(path: str) -> None:
    """Serve until a signal ends it. Raises what `load_config` and `Supervisor.run` raise, perhaps in groups."""
    with trio.open_signal_receiver(*signals.HANDLED) as received:
        seen = await signals.content(path)
        config = load_config(path)
        log.info("server.starting", version=__version__, config=config.path, pid=os.getpid())
        for warning in config.warnings:
            log.warning("config.warning", problem=warning)
        legacy = take_legacy(os.environ)
        predecessor = Predecessor(legacy.control) if legacy is not None and legacy.control is not None else None
        supervisor, serving = Supervisor(config, legacy), trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(signals.obey, received, supervisor, serving)
            async with trio.open_nursery() as server:
                await server.start(supervisor.run)
                serving.set()
                notify_ready()
                if predecessor is not None:
                    nursery.start_soon(predecessor.run, supervisor.cancel_keys)
                nursery.start_soon(signals.autoreload, supervisor, seen)
            if predecessor is not None:
                await wait_any(predecessor.gone.wait, supervisor.ending.impatient.wait)
            nursery.cancel_scope.cancel()


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pgcat-trio",
        description="A PostgreSQL proxy: pools connections, sends reads to replicas and writes to the primary.",
        epilog="Commands: `pgcat-trio check FILE` says everything that is wrong with a configuration; "
        "`pgcat-trio explain FILE SQL` says where a statement would go; `pgcat-trio plan OLD NEW` says what a reload "
        "would change; `pgcat-trio demo` shows the proxy at work. "
        "Files of these names are ./check and so on.",
    )
    parser.add_argument(
        "config",
        nargs="?",
        default=os.environ.get("CONFIG_FILE") or "pgcat.toml",
        metavar="CONFIG",
        type=_no_command,
        help="the configuration (default: %(default)s; environment: CONFIG_FILE)",
    )
    parser.add_argument(
        "-l",
        "--log-level",
        default=os.environ.get("LOG_LEVEL") or "INFO",
        type=_one_of("a log level", observe_log.LEVELS, str.upper),
        metavar="LEVEL",
        help=f"least level to log: {', '.join(observe_log.LEVELS)} (default: %(default)s; environment: LOG_LEVEL)",
    )
    parser.add_argument(
        "-F",
        "--log-format",
        default=os.environ.get("LOG_FORMAT") or "text",
        type=_one_of("a log format", observe_log.FORMATS, str.lower),
        metavar="FORMAT",
        help="text (a line per event), structured (JSON lines) or debug (a line per field) "
        "(default: %(default)s; environment: LOG_FORMAT)",
    )
    parser.add_argument(
        "-n",
        "--no-color",
        action="store_true",
        default=bool(os.environ.get("NO_COLOR")),
        help="no colors, on a terminal neither (environment: NO_COLOR)",
    )
    parser.add_argument("-V", "--version", action="version", version=f"pgcat-trio {__version__}")
    return parser


def _one_of(what: str, choices: Sequence[str] | dict[str, int], spelled: Callable[[str], str]) -> Callable[[str], str]:
    """For argparse, which checks ``choices`` of arguments only but ``type`` of the environment's defaults too."""

    def parse(text: str) -> str:
        if spelled(text) not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {what}; choose from {', '.join(choices)}")
        return spelled(text)

    return parse


def _no_command(name: str) -> str:
    if name in COMMANDS and name != os.environ.get("CONFIG_FILE"):
        raise argparse.ArgumentTypeError(f"the command {name!r} comes first; a file of that name is ./{name}")
    return name


def _configure_log(options: argparse.Namespace) -> None:
    color = sys.stdout.isatty() and not options.no_color
    observe_log.configure(options.log_level, cast("observe_log.Format", options.log_format), color=color)


# -- pgcat-trio check FILE -----------------------------------------------------------------------------------------


def _check(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="pgcat-trio check", description="Say everything that is wrong with a file.")
    parser.add_argument("config", metavar="FILE", help="the configuration to check")
    path: str = parser.parse_args(arguments).config
    try:
        config = load_config(path)
        _check_tls(config)
    except ConfigError as error:
        _complain(_problems(error, path))
        return EX_CONFIG
    for warning in config.warnings:
        _complain((f"warning: {warning}",))
    users = sum(len(pool.users) for pool in config.pools.values())
    _say(f"{path} can be used: pools: {len(config.pools)}, users: {users}, warnings: {len(config.warnings)}")
    return 0


def _check_tls(config: Config) -> None:
    """Raise `ConfigError` for a certificate or a key that OpenSSL does not accept."""
    general = config.general
    if general.tls_certificate is not None and general.tls_private_key is not None:
        client_facing_context(general.tls_certificate, general.tls_private_key)
    files = (general.server_tls_ca_file, general.server_tls_certificate, general.server_tls_private_key)
    server_facing_context(general.server_tls, *(None if file is None else str(file) for file in files))


# -- pgcat-trio explain FILE SQL -----------------------------------------------------------------------------------


def _explain(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pgcat-trio explain",
        description="Say where statements would go and why, by the configuration alone: no server is asked.",
    )
    parser.add_argument("config", metavar="FILE", help="the configuration")
    parser.add_argument("sql", nargs="+", metavar="SQL", help="what a client sends at once; - for standard input")
    parser.add_argument("-d", "--database", metavar="POOL", help="the pool (default: the only one)")
    parser.add_argument("-u", "--user", metavar="USER", help="one of its users (default: the first one)")
    options = parser.parse_args(arguments)
    try:
        config = load_config(options.config)
    except ConfigError as error:
        _complain(_problems(error, options.config))
        return EX_CONFIG
    texts = [text for each in options.sql for text in _texts(each)]
    try:
        pool, user = explaining.find_pool(config, options.database, options.user)
        tables = [explaining.explain_statement(pool, user, text) for text in texts]
    except ConfigError as error:
        parser.error(error.message)
    if not texts:
        parser.error("there is no statement")
    for number, rows in enumerate(tables):
        if number:
            _say("")
        _tabulate(rows)
    return 0


def _texts(argument: str) -> list[bytes]:
    if argument == "-":
        return explaining.statements_of(sys.stdin.buffer.read())
    return [os.fsencode(argument)]


def _tabulate(rows: Sequence[Sequence[str]]) -> None:
    """In columns; the first one stands out on a terminal, if there is the library that does it."""
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            table = Table.grid(padding=(0, 2))
            table.add_column(style="bold cyan", no_wrap=True)
            for name, *values in rows:
                table.add_row(name, *map(Text, values))
            Console().print(table)
            return
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        _say("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


# -- pgcat-trio plan [OLD] NEW -------------------------------------------------------------------------------------


def _plan(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="pgcat-trio plan",
        description="Say what a reload would keep, change, add and retire. RELOAD DRY RUN, on the admin console of a "
        "running proxy, compares its file with what it runs.",
    )
    served = os.environ.get("CONFIG_FILE") or "pgcat.toml"
    parser.add_argument("old", nargs="?", default=served, metavar="OLD", help=f"what runs (default: {served})")
    parser.add_argument("new", metavar="NEW", help="what shall run")
    options = parser.parse_args(arguments)
    configs = []
    for path in (options.old, options.new):
        try:
            config = load_config(path)
            _check_tls(config)
        except ConfigError as error:
            _complain(_problems(error, path))
            return EX_CONFIG
        configs.append(config)
    plan = diff(*configs)
    _tabulate([(action, f"{pool}/{user}" if user else pool, what) for action, pool, user, what in plan.rows()])
    if plan.is_empty:
        _say("nothing changes")
    return 0


# -- pgcat-trio demo -----------------------------------------------------------------------------------------------


def _demo(arguments: Sequence[str]) -> int:
    try:
        from .demo import run as demo  # its libraries are an extra of the package
    except ImportError as error:
        _complain((f"pgcat-trio demo: {error}; install what it needs: pip install 'pgcat-trio[demo]'",))
        return 1
    return trio.run(demo.run, demo.parse_options(arguments))


# -- words ---------------------------------------------------------------------------------------------------------

COMMANDS: Final = {"check": _check, "demo": _demo, "explain": _explain, "plan": _plan}


def _problems(error: BaseException, path: str) -> list[str]:
    """One line per problem of an error or of all errors in a group; ``path`` is the configuration's."""
    if isinstance(error, BaseExceptionGroup):
        return [line for each in error.exceptions for line in _problems(each, path)]
    if isinstance(error, ConfigError):
        return list(error.problems) or [f"{path}: {error.message}"]
    return [str(error)]


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        sys.stderr.write(f"{line}\n")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
