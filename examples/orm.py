"""SQLAlchemy on Chopin, by its dialect for asyncpg: one line ahead of the engine.

Run it with a DSN, such as ``postgresql://ann@localhost/app``.
"""

from __future__ import annotations

import asyncio
import sys

from sqlalchemy import ForeignKey, func, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    mapped_column,
    relationship,
    selectinload,
)
from sqlalchemy.types import Text

import chopin


class Base(DeclarativeBase):
    """What the tables have in common."""


class Composer(Base):
    """Who has written something."""

    __tablename__ = "orm_composers"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    born: Mapped[dict[str, int]] = mapped_column(JSONB)
    works: Mapped[list[Work]] = relationship(order_by="Work.opus")


class Work(Base):
    """What was written."""

    __tablename__ = "orm_works"

    id: Mapped[int] = mapped_column(primary_key=True)
    composer_id: Mapped[int] = mapped_column(ForeignKey("orm_composers.id"))
    opus: Mapped[int]
    keys: Mapped[list[str]] = mapped_column(ARRAY(Text))


async def main(dsn: str) -> None:
    """Store objects, read them with what belongs to them, stream, meet an error."""
    chopin.install_as_asyncpg()
    engine = create_async_engine(
        "postgresql+asyncpg://", async_creator=lambda: chopin.connect(dsn)
    )
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    try:
        async with sessions.begin() as session:
            works = [Work(opus=n, keys=["c", "G"]) for n in (25, 10)]
            born = {"year": 1810}
            session.add(Composer(name="Chopin", born=born, works=works))
        async with sessions() as session:
            query = select(Composer).options(selectinload(Composer.works))
            composer = (await session.scalars(query)).one()
            opera = [(work.opus, work.keys) for work in composer.works]
            print(composer.name, composer.born, opera)
            async for work in await session.stream_scalars(select(Work)):
                print("streamed:", work.opus)
        try:
            async with sessions.begin() as session:
                session.add(Composer(name="Chopin", born={}))
        except IntegrityError as error:
            print("refused:", type(getattr(error.orig, "__cause__", None)).__name__)
        async with sessions() as session:
            print("works:", await session.scalar(select(func.count(Work.id))))
    finally:
        async with engine.begin() as connection:
            await connection.run_sync(Base.metadata.drop_all)
        await engine.dispose()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
