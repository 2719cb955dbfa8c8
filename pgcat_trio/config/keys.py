"""How a field of the model says which TOML key it comes from, in which unit, and within which limits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

# The largest integer that TOML promises (its specification, "Integer"); PgCat's unsigned keys reach no further.
MAX_INTEGER: Final = 2**63 - 1


@attrs.frozen
class Key:
    """One TOML key: its name, and how its value is read.

    ``units_per_second`` is set for a duration, which the model holds in seconds. ``parse`` replaces the reading by
    type and raises ValueError with the words for the user. ``inherit`` marks a key that a pool takes over from
    ``[general]``, or a user from its pool. ``boot_only`` marks a key which a reload cannot apply.
    """

    name: str | None = None
    units_per_second: int | None = None
    at_least: int | None = None
    at_most: int = MAX_INTEGER
    zero_hint: str = ""
    parse: Callable[[Any], Any] | None = None
    inherit: bool = False
    boot_only: bool = False


def setting(default: Any = attrs.NOTHING, **about: Any) -> Any:
    """A field read from the key of its own name, or of ``name=``. Without a default the key is required."""
    return attrs.field(default=default, metadata={"key": Key(**about)})


def count(default: Any = attrs.NOTHING, **about: Any) -> Any:
    """A whole number, not negative unless ``at_least`` says so."""
    return setting(default, **{"at_least": 0, **about})


def duration_ms(default_s: Any = attrs.NOTHING, **about: Any) -> Any:
    """A duration in milliseconds in TOML, in seconds (float) in the model; the field is called ``<key>_s``."""
    return count(default_s, units_per_second=1000, **about)


def duration_s(default_s: Any = attrs.NOTHING, **about: Any) -> Any:
    """A duration in seconds in both places; the field is called ``<key>_s``."""
    return count(default_s, units_per_second=1, **about)


def key_of(field: attrs.Attribute[Any]) -> Key:
    """The key of a model field, with its name filled in."""
    key: Key = field.metadata["key"]
    if key.name is not None:
        return key
    name = field.name.removesuffix("_s") if key.units_per_second else field.name
    return attrs.evolve(key, name=name)
