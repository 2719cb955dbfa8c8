"""Replication through the proxy: PostgreSQL's own programs, a standby, and the protocol by hand."""

from __future__ import annotations

import ssl
import struct
from typing import TYPE_CHECKING, Any, Final

import attrs
import psycopg
import pytest
import trio
from psycopg.rows import dict_row
from support import client as pg
from support.proxy import APP_PASSWORD, APP_USER, RunningProxy, proxy_config, running_proxy

from pgcat_trio.wire import codes, encode

if TYPE_CHECKING:
    import subprocess
    from collections.abc import AsyncIterator
    from pathlib import Path

    from pgcat_trio.embedded import EmbeddedCluster

COPY_BOTH: Final = ord("W")
SLOT: Final = "through_the_proxy"
PATIENCE_S: Final = 30.0


@pytest.fixture(params=["transaction", "session"])
async def proxy(
    request: pytest.FixtureRequest, cluster: EmbeddedCluster, client_tls: str
) -> AsyncIterator[RunningProxy]:
    config = proxy_config(cluster, pool_mode=request.param, pool_size=1, general=client_tls)
    async with running_proxy(config) as proxy:
        yield proxy


@attrs.frozen
class Programs:
    """PostgreSQL's programs, set up to use the proxy."""

    cluster: EmbeddedCluster
    proxy: RunningProxy

    async def run(self, name: str, *arguments: str, connects: bool = True) -> subprocess.CompletedProcess[bytes]:
        program = self.cluster.bin_dir / name
        if not program.is_file():
            pytest.skip(f"{program} is missing")
        where = {"PGHOST": self.proxy.host, "PGPORT": str(self.proxy.port), "PGSSLMODE": "disable"}
        who = {"PGUSER": APP_USER, "PGPASSWORD": APP_PASSWORD}
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                [str(program), *(["--no-password"] if connects else []), *arguments],
                env={**self.cluster.environ, **where, **who},
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )
        assert done.returncode == 0, done.stderr.decode()
        return done


@pytest.fixture
def programs(cluster: EmbeddedCluster, proxy: RunningProxy) -> Programs:
    return Programs(cluster, proxy)


async def no_walsender_but_the_replicas(cluster: EmbeddedCluster) -> None:
    """Nobody else replicates: what a test did is over on the server, too."""
    others = "select count(*) = 0 from pg_stat_activity where backend_type = 'walsender'"
    await cluster.primary.wait_for(f"{others} and application_name not like 'replica-%'", PATIENCE_S)


async def slot_is_free(cluster: EmbeddedCluster) -> None:
    await cluster.primary.wait_for(
        f"select not active from pg_replication_slots where slot_name = '{SLOT}'", PATIENCE_S
    )


@pytest.fixture
async def slot(cluster: EmbeddedCluster) -> AsyncIterator[str]:
    """A logical slot of the database's, and an empty table ``t``; what is written into that is decoded."""
    await cluster.psql("drop table if exists t; create table t (id int, name text)")
    await cluster.psql(f"select pg_create_logical_replication_slot('{SLOT}', 'test_decoding')")
    yield SLOT
    await slot_is_free(cluster)
    await cluster.psql(f"select pg_drop_replication_slot('{SLOT}')")


def start(slot: str, position: str = "0/0") -> bytes:
    return encode.query(f"START_REPLICATION SLOT {slot} LOGICAL {position} (\"include-xids\" '0')")


async def changes(client: pg.Client, count: int) -> list[str]:
    """The next changes that are streamed; keepalives that ask for an answer get one."""
    found: list[str] = []
    while len(found) < count:
        kind, body = await client.message()
        assert kind == codes.COPY_DATA, chr(kind)
        if body[:1] == b"w":
            found.append(body[25:].decode())
        elif body[17]:
            await client.send(feedback(struct.unpack_from("!Q", body, 1)[0]))
    return found


def feedback(position: int) -> bytes:
    """A standby status update: written, flushed and applied up to ``position``."""
    return pg.copy_data(struct.pack("!cQQQQB", b"r", position, position, position, 0, 0))


# -- PostgreSQL's programs -----------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("wal_method", ["stream", "fetch"])
async def test_pg_basebackup(programs: Programs, cluster: EmbeddedCluster, tmp_path: Path, wal_method: str) -> None:
    """With ``stream`` it has two walsenders at a time. It names no database, and no pool has the name it gives."""
    backup = tmp_path / "backup"
    arguments = ["-D", str(backup), "--checkpoint=fast", f"--wal-method={wal_method}", "--no-sync"]
    await programs.run("pg_basebackup", *arguments)
    await programs.run("pg_verifybackup", str(backup), connects=False)
    await no_walsender_but_the_replicas(cluster)


def compare_files(received: Path, original: Path) -> list[str]:
    """See that finished files are what they are copies of; returns their names."""
    names = sorted(path.name for path in received.iterdir() if path.suffix != ".partial")
    assert all((received / name).read_bytes() == (original / name).read_bytes() for name in names)
    return names


@pytest.mark.trio
async def test_pg_receivewal(programs: Programs, cluster: EmbeddedCluster, tmp_path: Path) -> None:
    await cluster.psql("create table if not exists filler (text text)")
    begin = await cluster.psql("select pg_walfile_name(pg_current_wal_lsn())")
    await cluster.psql(f"select pg_create_physical_replication_slot('{SLOT}_physical', true)")
    try:
        await cluster.psql("insert into filler select repeat('x', 1000) from generate_series(1, 3000)")
        end = await cluster.psql("select pg_switch_wal()")
        await cluster.psql("insert into filler values ('more')")
        arguments = ["-D", str(tmp_path), f"--slot={SLOT}_physical", f"--endpos={end}", "--no-loop", "--no-sync"]
        await programs.run("pg_receivewal", *arguments)
    finally:
        await programs.run("pg_receivewal", "--drop-slot", f"--slot={SLOT}_physical")
    received = await trio.to_thread.run_sync(compare_files, tmp_path, cluster.primary.data_dir / "pg_wal")
    assert len(received) >= 3
    assert received[0] <= begin


@pytest.mark.trio
async def test_pg_recvlogical(programs: Programs, cluster: EmbeddedCluster, slot: str) -> None:
    await cluster.psql("insert into t select i, 'name ' || i from generate_series(1, 5000) i")
    end = await cluster.psql("select pg_current_wal_lsn()")
    where = ["-d", cluster.database, f"--slot={slot}"]
    done = await programs.run("pg_recvlogical", *where, "--start", "-f", "-", f"--endpos={end}", "--no-loop")
    lines = done.stdout.decode().splitlines()
    assert [line for line in lines if "INSERT" in line] == [
        f"table public.t: INSERT: id[integer]:{i} name[text]:'name {i}'" for i in range(1, 5001)
    ]


@attrs.frozen
class Source:
    """A proxy, as a server that a standby follows."""

    proxy: RunningProxy
    user: str

    def conninfo(self, application_name: str) -> str:
        place = f"host={self.proxy.host} port={self.proxy.port} user='{self.user}' sslmode=disable"
        return f"{place} application_name={application_name} connect_timeout=5"


@pytest.mark.trio
async def test_a_standby_that_follows_the_proxy(cluster: EmbeddedCluster) -> None:
    replica = cluster.replicas[0]
    try:
        # The standby's password file knows the superuser only.
        config = proxy_config(cluster, users={cluster.superuser: cluster.password})
        async with running_proxy(config) as proxy:
            await replica.rebuild(Source(proxy, cluster.superuser))  # type: ignore[arg-type]
            await cluster.psql("create table if not exists followed (id int); insert into followed values (1)")
            await cluster.wait_caught_up()
            assert await cluster.psql("select count(*) > 0 from followed", replica) == "t"
            [row] = [
                (connection.replication.reported["application_name"], connection.replication.database)
                for connection in proxy.supervisor.connections
                if connection.replication is not None
            ]
            assert row == (replica.name, cluster.database)
    finally:
        await replica.rebuild(cluster.primary)


# -- the protocol by hand ------------------------------------------------------------------------------------------


@pytest.mark.trio
@pytest.mark.parametrize("replication", ["database", "true", "on"])
async def test_commands_of_a_walsender(proxy: RunningProxy, cluster: EmbeddedCluster, replication: str) -> None:
    async with await pg.connect(proxy, replication=replication, application_name="a walsender") as client:
        [[system, _, _, database]] = await client.query("IDENTIFY_SYSTEM")
        assert system == await cluster.psql("select system_identifier from pg_control_system()")
        assert database == (cluster.database if replication == "database" else None)
        assert await client.query("SHOW application_name") == [["a walsender"]]
        with pytest.raises(pg.PostgresError, match=r"syntax error|cannot execute SQL commands in WAL sender"):
            await client.query("IDENTIFY NOTHING")
        assert client.status == "I"
        assert client.parameters["application_name"] == "a walsender"
        await client.close()
    await no_walsender_but_the_replicas(cluster)


@pytest.mark.trio
async def test_sql_on_a_walsender(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    """Its pid is the one that the client was told, and it is not the pool's backend, which is taken."""
    async with await pg.connect(proxy) as ordinary, await pg.connect(proxy, replication="database") as client:
        await ordinary.query("begin")
        assert await client.query("select pg_backend_pid()") == [[str(client.pid)]]
        assert await client.query("select current_database(), 1; select 2") == [[cluster.database, "1"], ["2"]]
        await client.query("begin")
        assert client.status == "T"
        await client.query("rollback")
        await client.close()


@pytest.mark.trio
@pytest.mark.parametrize("encrypted", [False, True])
async def test_stream_feedback_and_end(
    proxy: RunningProxy, cluster: EmbeddedCluster, slot: str, authority: Any, encrypted: bool
) -> None:
    context = ssl.create_default_context(cafile=str(authority.certificate)) if encrypted else None
    async with await pg.connect(proxy, context, replication="database", application_name="by hand") as client:
        await client.send(start(slot))
        assert (await client.message())[0] == COPY_BOTH
        for i in range(3):
            await cluster.psql(f"insert into t values ({i}, 'one')")
            assert await changes(client, 3) == [
                "BEGIN",
                f"table public.t: INSERT: id[integer]:{i} name[text]:'one'",
                "COMMIT",
            ]
        position = await cluster.psql("select pg_current_wal_lsn() - '0/0'::pg_lsn")
        await client.send(feedback(int(position)))
        flushed = f"flush_lsn - '0/0'::pg_lsn = {position} from pg_stat_replication where application_name = 'by hand'"
        await cluster.primary.wait_for(f"select {flushed}", PATIENCE_S)
        await client.send(encode.COPY_DONE)
        reply = await client.reply()
        assert (reply.kinds.lstrip("d"), reply.tags) == ("cCCZ", ["COPY 0", "START_REPLICATION"])
        assert len(await client.query("IDENTIFY_SYSTEM")) == 1
        await client.close()


@pytest.mark.trio
@pytest.mark.parametrize("how", ["goodbye", "close", "reset"])
async def test_client_that_leaves_a_stream_takes_its_walsender_along(
    proxy: RunningProxy, cluster: EmbeddedCluster, slot: str, how: str
) -> None:
    client = await pg.connect(proxy, replication="database")
    await client.send(start(slot))
    assert (await client.message())[0] == COPY_BOTH
    if how == "goodbye":
        await client.send(encode.COPY_DONE + encode.TERMINATE)
    client.leave(reset=how == "reset")
    await no_walsender_but_the_replicas(cluster)


@pytest.mark.trio
async def test_client_that_leaves_a_query_takes_its_walsender_along(
    proxy: RunningProxy, cluster: EmbeddedCluster
) -> None:
    async with await pg.connect(proxy, replication="database") as client:
        await client.send(encode.query("select pg_sleep(300)"))
        await cluster.primary.wait_for(f"select state = 'active' from pg_stat_activity where pid = {client.pid}", 10)
    await no_walsender_but_the_replicas(cluster)


@pytest.mark.trio
async def test_walsender_that_is_terminated_says_so(proxy: RunningProxy, cluster: EmbeddedCluster, slot: str) -> None:
    async with await pg.connect(proxy, replication="database") as client:
        await client.send(start(slot))
        assert (await client.message())[0] == COPY_BOTH
        await cluster.psql(f"select pg_terminate_backend({client.pid})")
        with pytest.raises(pg.PostgresError, match="57P01: terminating connection due to administrator command"):
            await client.reply()


@pytest.mark.trio
async def test_server_that_crashes_ends_the_stream(fresh_cluster_after: EmbeddedCluster) -> None:
    cluster = fresh_cluster_after
    async with running_proxy(proxy_config(cluster)) as proxy:
        async with await pg.connect(proxy, replication="true") as client:
            [[_, timeline, position, _]] = await client.query("IDENTIFY_SYSTEM")
            await client.send(encode.query(f"START_REPLICATION {position} TIMELINE {timeline}"))
            assert (await client.message())[0] == COPY_BOTH
            await cluster.primary.kill()
            with trio.fail_after(5), pytest.raises((pg.Disconnected, pg.PostgresError)):
                await client.reply()
        with pytest.raises(pg.PostgresError) as refused:
            await pg.connect(proxy, replication="true")
        assert (refused.value.sqlstate, refused.value.fields["S"]) == ("08001", "FATAL")


@pytest.mark.trio
async def test_cancel_reaches_the_walsender(proxy: RunningProxy, cluster: EmbeddedCluster, slot: str) -> None:
    async with await pg.connect(proxy, replication="database") as client:
        await client.send(encode.query("select pg_sleep(300)"))
        await cluster.primary.wait_for(f"select state = 'active' from pg_stat_activity where pid = {client.pid}", 10)
        await client.cancel()
        assert [error.sqlstate for error in (await client.reply()).errors] == ["57014"]
        await client.close()


@pytest.mark.trio
async def test_slow_reader_holds_the_walsender_up_and_loses_nothing(
    proxy: RunningProxy, cluster: EmbeddedCluster, slot: str
) -> None:
    await cluster.psql("insert into t select i, repeat('x', 1000) from generate_series(1, 20000) i")
    async with await pg.connect(proxy, replication="database") as client:
        await client.send(start(slot))
        assert (await client.message())[0] == COPY_BOTH
        stuck = f"select wait_event = 'WalSenderWriteData' from pg_stat_activity where pid = {client.pid}"
        await cluster.primary.wait_for(stuck, PATIENCE_S)
        [replication] = [
            connection.replication for connection in proxy.supervisor.connections if connection.replication
        ]
        assert replication.outbox.pending_bytes <= 64 * 1024
        found = await changes(client, 20002)
        assert [line.split()[3] for line in found[1:-1]] == [f"id[integer]:{i}" for i in range(1, 20001)]
        await client.close()


@pytest.mark.trio
async def test_what_the_server_refuses(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    for (replication, options), sqlstate in {("maybe", ""): "22023", ("database", "-c nonsense=1"): "42704"}.items():
        with pytest.raises(pg.PostgresError) as refused:
            await pg.connect(proxy, replication=replication, options=options)
        assert (refused.value.sqlstate, refused.value.fields["S"]) == (sqlstate, "FATAL")


@pytest.mark.trio
async def test_without_a_primary_there_is_nothing_to_replicate_from(cluster: EmbeddedCluster) -> None:
    config = proxy_config(cluster).replace('"primary"]', '"replica"]').replace('default_role = "primary"', "")
    async with running_proxy(config) as proxy:
        with pytest.raises(pg.PostgresError, match="no primary server is configured") as refused:
            await pg.connect(proxy, replication="database")
        assert (refused.value.sqlstate, refused.value.fields["H"]) == ("08001", "Add one to the pool's servers.")


@pytest.mark.trio
async def test_shutdown_ends_streams_between_two_messages(cluster: EmbeddedCluster, slot: str) -> None:
    async with (
        running_proxy(proxy_config(cluster)) as proxy,
        await pg.connect(proxy, replication="database") as client,
    ):
        await client.send(start(slot))
        assert (await client.message())[0] == COPY_BOTH
        proxy.supervisor.shut_down()
        with pytest.raises(pg.PostgresError, match="57P01"):
            await client.reply()
    await no_walsender_but_the_replicas(cluster)


@pytest.mark.trio
async def test_admin_sees_them(proxy: RunningProxy, cluster: EmbeddedCluster) -> None:
    def ask() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
        with psycopg.connect(proxy.admin_dsn, autocommit=True, prepare_threshold=None, row_factory=dict_row) as console:
            found = [console.execute(f"show {name}".encode()).fetchall() for name in ("clients", "servers", "lists")]
        clients, servers = ([row for row in rows if row["state"] == "replication"] for rows in found[:2])
        assert len(clients) == len(servers) == 1
        return clients[0], servers[0], {row["list"]: row["items"] for row in found[2]}

    async with await pg.connect(proxy, replication="true", application_name="backup") as client:
        row, server, lists = await trio.to_thread.run_sync(ask)
        assert (row["application_name"], row["user"], row["database"]) == ("backup", APP_USER, cluster.database)
        assert (server["application_name"], server["server_id"]) == ("backup", f"0x{client.pid:08X}")
        assert server["address_id"] == "app_shard_0_primary"
        assert (lists["used_clients"], lists["used_servers"], lists["login_clients"]) == (1, 1, 0)
        await client.close()
