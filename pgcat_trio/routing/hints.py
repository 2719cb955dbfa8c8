"""What a text says about where it belongs, in a comment: ``/* pgcat: role=replica, shard=2 */``, or PgCat's patterns.

A hint of ours holds for the request that it stands in. What PgCat's ``shard_id_regex`` and ``sharding_key_regex`` find
holds until the client says otherwise, as in PgCat. All of it stands within the first ``regex_search_limit`` bytes.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import attrs

from pgcat_trio.config.model import Role
from pgcat_trio.errors import InvalidCommand
from pgcat_trio.routing.lexer import comments
from pgcat_trio.routing.route import Route
from pgcat_trio.routing.sharding import shard_of

if TYPE_CHECKING:
    from pgcat_trio.config.model import Pool

_OURS: Final = re.compile(rb"\s*+pgcat\s*+:(.*)", re.IGNORECASE | re.DOTALL)
_ROLES: Final = {"primary": Role.PRIMARY, "replica": Role.REPLICA, "any": Role.ANY}
_REMEDY: Final = "Use role=primary, role=replica, role=any or shard=<number>, parted by commas."
_MAX_SHOWN: Final = 63


@attrs.frozen
class Hint:
    """What is asked for. ``sticky``: from now on."""

    role: Role | None = None
    shard: int | None = None
    sticky: bool = False

    def on(self, route: Route) -> Route:
        """The route of a text with this hint; the shard is the caller's to see to."""
        if self.role is None:
            return route
        return Route(self.role, "a hint", route.effects, self.role is Role.ANY, route.tally, route.traits)


class Hints:
    """Finds the hints in the texts of one pool."""

    def __init__(self, pool: Pool) -> None:
        self._limit = pool.regex_search_limit
        self._shards = len(pool.shards)
        self._function = pool.sharding_function
        self._shard_id = None if pool.shard_id_regex is None else re.compile(pool.shard_id_regex)
        self._key = None if pool.sharding_key_regex is None else re.compile(pool.sharding_key_regex)
        self.everywhere = bool(self._shard_id or self._key)
        """Any text may have one, not only those with a comment."""

    def find(self, sql: bytes) -> Hint | None:
        """The hint of a text, None if it has none. Raises `InvalidCommand` for one that cannot be understood."""
        hint = self._ours(sql) if b"/*" in sql else None
        shard = self._by_pattern(sql) if self.everywhere else None
        if shard is None:
            return hint
        if hint is not None and hint.shard is not None:
            return hint
        return Hint(hint.role if hint is not None else None, shard, sticky=True)

    def _ours(self, sql: bytes) -> Hint | None:
        if b"pgcat" not in sql[: self._limit + _MAX_SHOWN].lower():
            return None
        given: dict[str, str] = {}
        for comment in comments(sql, self._limit):
            found = _OURS.fullmatch(comment)
            for item in re.split(r"[\s,]+", found[1].decode("utf-8", "replace").strip()) if found else ():
                name, equals, value = item.lower().partition("=")
                if not equals or name not in ("role", "shard") or given.setdefault(name, value) != value:
                    raise InvalidCommand(f'the hint "{item[:_MAX_SHOWN]}" cannot be understood', hint=_REMEDY)
        if not given:
            return None
        role, shard = given.get("role"), given.get("shard")
        if role is not None and role not in _ROLES:
            raise InvalidCommand(f'the hint "role={role[:_MAX_SHOWN]}" names no role', hint=_REMEDY)
        if shard is not None and not re.fullmatch(r"[0-9]{1,9}", shard):
            raise InvalidCommand(f'the hint "shard={shard[:_MAX_SHOWN]}" names no shard', hint=_REMEDY)
        return Hint(None if role is None else _ROLES[role], None if shard is None else int(shard))

    def _by_pattern(self, sql: bytes) -> int | None:
        window = sql[: self._limit].decode("utf-8", "replace")
        if self._shard_id is not None and (found := self._shard_id.search(window)):
            return self._number(found, "shard_id_regex")
        if self._key is not None and (found := self._key.search(window)):
            return shard_of(self._number(found, "sharding_key_regex"), self._shards, self._function)
        return None

    def _number(self, found: re.Match[str], key: str) -> int:
        text = found[1] if found.re.groups else found[0]
        if text is None or not re.fullmatch(r"-?[0-9]{1,19}", text.strip()) or abs(int(text)) >= 2**63:
            raise InvalidCommand(
                f'{key} finds "{(text or "")[:_MAX_SHOWN]}", which is no number',
                hint="Correct the comment, or the pattern in the proxy's configuration: its first group is the number.",
            )
        return int(text)
