"""What one client has said about where its requests go, and the router that follows from it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from pgcat_trio.config.model import Role
from pgcat_trio.routing.route import Router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pgcat_trio.config.model import Pool
    from pgcat_trio.routing.commands import Command


@attrs.frozen
class Overrides:
    """None where the client has said nothing. ``auto``: statements choose their servers, whatever the pool says."""

    role: Role | None = None
    auto: bool = False
    primary_reads: bool | None = None
    shard: int | None = None

    def with_role(self, command: Command) -> Overrides:
        """After SET SERVER ROLE."""
        role = Role(command.value) if command.value in ("primary", "replica", "any") else None
        return attrs.evolve(self, role=role, auto=command.value == "auto")

    def with_primary_reads(self, command: Command) -> Overrides:
        """After SET PRIMARY READS."""
        return attrs.evolve(self, primary_reads={"on": True, "off": False}.get(command.value or ""))


NO_OVERRIDES = Overrides()


class Routers:
    """The routers of one pool: ``usual``, and those of clients that have a mind of their own, made when asked for."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.usual = Router.for_pool(pool)
        self._others: dict[tuple[Role, bool, bool], Router] = {}

    def find(self, overrides: Overrides) -> Router:
        """The router for a client; one for all that say the same."""
        pool = self._pool
        splitting = overrides.auto or (overrides.role is None and self.usual.splitting)
        role = overrides.role or (Role.ANY if overrides.auto else pool.default_role)
        reads = pool.primary_reads_enabled if overrides.primary_reads is None else overrides.primary_reads
        if (role, splitting, reads) == (pool.default_role, self.usual.splitting, pool.primary_reads_enabled):
            return self.usual
        if splitting:
            role = Role.ANY  # nothing goes by it
        else:
            reads = False
        found = self._others.get((role, splitting, reads))
        if found is None:
            found = Router(role, splitting, splitting, reads, pool.query_parser_max_length)
            found.learned = self.usual.learned
            self._others[role, splitting, reads] = found
        if found.catalog is not self.usual.catalog:
            found.catalog = self.usual.catalog
            found.forget()
        return found

    def __iter__(self) -> Iterator[Router]:
        """All of them, the usual one first."""
        yield self.usual
        yield from self._others.values()

    def role(self, overrides: Overrides) -> str:
        """What SHOW SERVER ROLE says."""
        if overrides.role is not None:
            return overrides.role.value
        return "auto" if self.find(overrides).splitting else self._pool.default_role.value

    def primary_reads(self, overrides: Overrides) -> str:
        """What SHOW PRIMARY READS says."""
        reads = self._pool.primary_reads_enabled if overrides.primary_reads is None else overrides.primary_reads
        return "on" if reads else "off"
