"""SQLAlchemy through the proxy. The proxy pools the connections, so SQLAlchemy need not: NullPool."""

from __future__ import annotations

from sqlalchemy import NullPool, create_engine, func, select, text
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from support import run_with_dsn


class Base(DeclarativeBase):
    """All tables."""


class Note(Base):
    """A note."""

    __tablename__ = "notes"
    id: Mapped[int] = mapped_column(primary_key=True)
    text: Mapped[str]


def main(dsn: str) -> None:
    url = dsn.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url, poolclass=NullPool, connect_args={"prepare_threshold": None})
    Base.metadata.create_all(engine)
    with Session(engine) as session, session.begin():  # one transaction: the primary
        session.add_all([Note(text=f"note {number}") for number in range(10)])
    with Session(engine) as session:
        print(f"notes: {session.scalar(select(func.count()).select_from(Note))}")
    # Each statement by itself: those that only read go to the replicas.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        answered = [connection.scalar(text("select pg_is_in_recovery()")) for _ in range(4)]
    print(f"reads by replicas: {sum(answered)} of {len(answered)}")


if __name__ == "__main__":
    run_with_dsn(main)
