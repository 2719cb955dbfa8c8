"""A replica dies, reads go on elsewhere; it comes back, and gets its share again."""

from __future__ import annotations

from collections import Counter

import psycopg
import trio
from support import BAN_TIME_S, cluster_and_proxy


class Reader:
    """Reads, and sees which server answered."""

    def __init__(self, dsn: str, names: dict[int, str]) -> None:
        self.dsn = dsn
        self.names = names

    async def read(self, times: int) -> Counter[str]:
        return await trio.to_thread.run_sync(self._read, times)

    def _read(self, times: int) -> Counter[str]:
        with psycopg.connect(self.dsn, autocommit=True, prepare_threshold=None) as connection:
            ports = (connection.execute("select inet_server_port()").fetchone()[0] for _ in range(times))
            return Counter(self.names[port] for port in ports)


async def main() -> None:
    async with cluster_and_proxy() as (cluster, dsn):
        reader = Reader(dsn, {server.port: server.name for server in cluster.servers})
        victim = cluster.replicas[0]
        print(f"before:                     {dict(await reader.read(100))}")

        await victim.kill()
        print(f"{victim.name} killed:           {dict(await reader.read(100))}")

        await victim.start()
        await trio.sleep(BAN_TIME_S + 1)
        print(f"{victim.name} is back:          {dict(await reader.read(100))}")


if __name__ == "__main__":
    trio.run(main)
