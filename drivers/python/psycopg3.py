"""psycopg 3: parameters bound on the server, statements prepared, pipeline mode."""

import threading

import psycopg
from psycopg.types.json import Jsonb

from report import *

DRIVER = "psycopg"
DONE = "insert into done (driver, worker, n) values (%s, %s, %s)"


def connect(**more):
    # Where to, and that TLS is to be verified, libpq reads in the environment.
    return psycopg.connect(autocommit=True, **more)


def login():
    with connect() as connection:
        return connection.execute("select current_user::text").fetchone()[0]


def worker(number, barrier):
    with connect() as connection:
        connection.execute(f"set lock_timeout = '{lock_timeout(number)}'")
        barrier.wait()
        right = 0
        for n in range(TRANSACTIONS):
            with connection.transaction():
                connection.execute(DONE, (DRIVER, number, n), prepare=True)
                row = connection.execute("select %s::int + 1", (n,), prepare=True).fetchone()
                right += row[0] == n + 1
        kept = connection.execute("show lock_timeout").fetchone()[0]
        return right, kept == lock_timeout(number)


def copy():
    with connect() as connection:
        cursor = connection.cursor()
        with cursor.copy("copy copied (id, body) from stdin") as sink:
            sink.write(COPIED)
        with cursor.copy("copy (select id, body from copied order by id) to stdout") as source:
            return b"".join(source).decode() == COPIED


def errors():
    with connect() as connection:
        states = []
        for sql in ["insert into once values (1)", "select 1 / 0"]:
            try:
                connection.execute(sql)
            except psycopg.Error as error:
                states.append(error.sqlstate)
        connection.autocommit = False
        for sql in ["select * from missing", "select 1"]:
            try:
                connection.execute(sql)
            except psycopg.Error as error:
                states.append(error.sqlstate)
        connection.rollback()
        return states + [connection.execute("select 1").fetchone()[0]]


def cancel():
    with connect() as connection, connect() as other:
        state = []

        def sleep():
            try:
                connection.execute(sleeper(DRIVER))
            except psycopg.Error as error:
                state.append(error.sqlstate)

        thread = threading.Thread(target=sleep)
        thread.start()
        until(lambda: other.execute(is_sleeping(DRIVER)).fetchone()[0] == 1)
        connection.cancel_safe()
        thread.join()
        return state + [connection.execute("select 1").fetchone()[0]]


def notices():
    with connect() as connection:
        seen = []
        connection.add_notice_handler(lambda notice: seen.append(notice.message_primary))
        connection.execute("do $$ begin raise notice 'seen'; end $$")
        return seen


def pipeline():
    with connect() as connection:
        with connection.pipeline(), connection.transaction():
            cursors = [connection.execute("select %s::int", (n,)) for n in range(100)]
            return sum(cursor.fetchone()[0] for cursor in cursors)


def parts():
    with connect() as connection, connection.transaction():
        with connection.cursor(name="many") as cursor:
            cursor.itersize = 100
            cursor.execute("select id from many order by id")
            return sum(1 for _ in cursor)


def listen():
    with connect() as connection, connect() as other:
        connection.execute("listen pgherd_psycopg")
        other.execute("notify pgherd_psycopg, 'heard'")
        return [heard.payload for heard in connection.notifies(timeout=20, stop_after=1)]


def types():
    with connect() as connection:
        connection.execute(
            "insert into kept (driver, ints, texts, doc, raw, amount, at) "
            "values (%s, %s, %s, %s, %s, %s, %s)",
            (DRIVER, INTS, TEXTS, Jsonb(DOC), RAW, AMOUNT, AT),
        )
        row = connection.execute(
            "select ints, texts, doc, raw, amount, at from kept where driver = %s",
            (DRIVER,),
            binary=True,
        ).fetchone()
        return values(*row)


run(DRIVER, psycopg.__version__, {
    "login": login,
    "prepared": lambda: in_threads(worker),
    "copy": copy,
    "errors": errors,
    "cancel": cancel,
    "notices": notices,
    "pipeline": pipeline,
    "parts": parts,
    "listen": listen,
    "types": types,
})
