"""What the scenarios with SQLAlchemy share: its tables, and how its errors become JSON."""

from __future__ import annotations

import os
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The classes of the scenarios."""


class Item(Base):
    """A row of ``item``."""

    __tablename__ = "item"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    amount: Mapped[int | None]
    price: Mapped[Any] = mapped_column(sa.Numeric(12, 2))
    made: Mapped[Any] = mapped_column(sa.DateTime(timezone=True), server_default=sa.FetchedValue())
    tags: Mapped[Any] = mapped_column(pg.ARRAY(sa.Text))
    data: Mapped[Any] = mapped_column(pg.JSONB)
    payload: Mapped[bytes | None]
    flag: Mapped[bool | None]


COLUMNS = [column.name for column in Item.__table__.columns]
COUNT = sa.select(sa.func.count()).where(Item.name.like("b%"))
RUNNING = sa.text("select count(*) from pg_stat_activity where state = 'active' and query like 'select slow(30)%'")


def url(driver: str) -> sa.URL:
    """Where to connect with that driver, from the environment."""
    return sa.URL.create(
        f"postgresql+{driver}",
        username=os.environ["PGUSER"],
        password=os.environ["PGPASSWORD"],
        host=os.environ["PGHOST"],
        port=int(os.environ["PGPORT"]),
        database=os.environ["PGDATABASE"],
    )


def contents(item: Item) -> list[Any]:
    """The values of a row."""
    return [getattr(item, name) for name in COLUMNS]


def failure(error: sa.exc.DBAPIError) -> dict[str, object]:
    """The class of an error, what the server called it, and whether the pool has given up the connection."""
    original: Any = error.orig
    sqlstate = getattr(original, "sqlstate", None)
    if sqlstate is None and original.args and isinstance(original.args[0], dict):
        sqlstate = original.args[0].get("C")
    return {"type": type(error).__name__, "sqlstate": sqlstate, "invalidated": error.connection_invalidated}
