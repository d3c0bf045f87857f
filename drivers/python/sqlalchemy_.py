"""SQLAlchemy over psycopg 3: its own statements, types and pool."""

import sqlalchemy
from sqlalchemy import Column, DateTime, Integer, LargeBinary, MetaData, Numeric, Table, Text
from sqlalchemy import cast, create_engine, insert, select, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import DBAPIError

from report import *

DRIVER = "SQLAlchemy"

metadata = MetaData()
done = Table(
    "done", metadata, Column("driver", Text), Column("worker", Integer), Column("n", Integer)
)
once = Table("once", metadata, Column("id", Integer, primary_key=True))
many = Table("many", metadata, Column("id", Integer, primary_key=True))
kept = Table(
    "kept",
    metadata,
    Column("driver", Text, primary_key=True),
    Column("ints", ARRAY(Integer)),
    Column("texts", ARRAY(Text)),
    Column("doc", JSONB),
    Column("raw", LargeBinary),
    Column("amount", Numeric),
    Column("at", DateTime(timezone=True)),
)

# Where to, and that TLS is to be verified, libpq reads in the environment. Each statement is
# prepared the first time.
engine = create_engine(
    "postgresql+psycopg://", pool_size=len(CONNECTIONS), connect_args={"prepare_threshold": 0}
)


def login():
    with engine.connect() as connection:
        return connection.scalar(text("select current_user::text"))


def worker(number, barrier):
    with engine.connect() as connection:
        connection.execute(text(f"set lock_timeout = '{lock_timeout(number)}'"))
        connection.commit()
        barrier.wait()
        right = 0
        for n in range(TRANSACTIONS):
            with connection.begin():
                connection.execute(insert(done).values(driver=DRIVER, worker=number, n=n))
                right += connection.scalar(select(cast(n, Integer) + 1)) == n + 1
        found = connection.scalar(text("show lock_timeout"))
        return right, found == lock_timeout(number)


def errors():
    states = []
    with engine.connect() as connection:
        for statements in [
            [insert(once).values(id=1)],
            [text("select 1 / 0")],
            [text("select * from missing"), text("select 1")],
        ]:
            for statement in statements:
                try:
                    connection.execute(statement)
                except DBAPIError as error:
                    states.append(error.orig.sqlstate)
            connection.rollback()
        return states + [connection.scalar(text("select 1"))]


def parts():
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=100).execute(select(many.c.id))
        return sum(1 for _ in rows)


def types():
    with engine.begin() as connection:
        connection.execute(
            insert(kept).values(
                driver=DRIVER, ints=INTS, texts=TEXTS, doc=DOC, raw=RAW, amount=AMOUNT, at=AT
            )
        )
        columns = (kept.c.ints, kept.c.texts, kept.c.doc, kept.c.raw, kept.c.amount, kept.c.at)
        row = connection.execute(select(*columns).where(kept.c.driver == DRIVER)).one()
        return values(*row)


OF_THE_DRIVER = "it leaves that to its driver, here psycopg"

run(DRIVER, sqlalchemy.__version__, {
    "login": login,
    "prepared": lambda: in_threads(worker),
    "copy": OF_THE_DRIVER,
    "errors": errors,
    "cancel": OF_THE_DRIVER,
    "notices": OF_THE_DRIVER,
    "pipeline": OF_THE_DRIVER,
    "parts": parts,
    "listen": OF_THE_DRIVER,
    "types": types,
})
