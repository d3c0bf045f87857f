"""psycopg2: parameters bound by the client, prepared by SQL's PREPARE."""

import io
import select
import threading

import psycopg2
from psycopg2.extras import Json

from report import *

DRIVER = "psycopg2"


def connect():
    # Where to, and that TLS is to be verified, libpq reads in the environment.
    connection = psycopg2.connect("")
    connection.autocommit = True
    return connection


def ask(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0] if cursor.description else None


def login():
    return ask(connect(), "select current_user::text")


def worker(number, barrier):
    connection = connect()
    ask(connection, f"set lock_timeout = '{lock_timeout(number)}'")
    ask(connection, "prepare done as insert into done (driver, worker, n) values ($1, $2, $3)")
    ask(connection, "prepare more as select $1::int + 1")
    barrier.wait()
    connection.autocommit = False
    right = 0
    for n in range(TRANSACTIONS):
        with connection:
            ask(connection, "execute done (%s, %s, %s)", (DRIVER, number, n))
            right += ask(connection, "execute more (%s)", (n,)) == n + 1
    kept = ask(connection, "show lock_timeout")
    connection.close()
    return right, kept == lock_timeout(number)


def copy():
    connection = connect()
    with connection.cursor() as cursor:
        cursor.copy_expert("copy copied (id, body) from stdin", io.StringIO(COPIED))
        out = io.StringIO()
        cursor.copy_expert("copy (select id, body from copied order by id) to stdout", out)
        return out.getvalue() == COPIED


def errors():
    connection = connect()
    states = []

    def refused(sql):
        try:
            ask(connection, sql)
        except psycopg2.Error as error:
            states.append(error.pgcode)

    refused("insert into once values (1)")
    refused("select 1 / 0")
    connection.autocommit = False
    refused("select * from missing")
    refused("select 1")
    connection.rollback()
    return states + [ask(connection, "select 1")]


def cancel():
    connection, other = connect(), connect()
    state = []

    def sleep():
        try:
            ask(connection, sleeper(DRIVER))
        except psycopg2.Error as error:
            state.append(error.pgcode)

    thread = threading.Thread(target=sleep)
    thread.start()
    until(lambda: ask(other, is_sleeping(DRIVER)) == 1)
    connection.cancel()
    thread.join()
    return state + [ask(connection, "select 1")]


def notices():
    connection = connect()
    ask(connection, "do $$ begin raise notice 'seen'; end $$")
    return [notice.removeprefix("NOTICE:").strip() for notice in connection.notices]


def parts():
    with connect() as connection:
        connection.autocommit = False
        with connection.cursor(name="many") as cursor:
            cursor.itersize = 100
            cursor.execute("select id from many order by id")
            return sum(1 for _ in cursor)


def listen():
    connection, other = connect(), connect()
    ask(connection, "listen pgherd_psycopg2")
    ask(other, "notify pgherd_psycopg2, 'heard'")
    while not connection.notifies:
        if not select.select([connection], [], [], 20)[0]:
            raise TimeoutError("nothing was heard in 20 s")
        connection.poll()
    return [heard.payload for heard in connection.notifies]


def types():
    connection = connect()
    ask(
        connection,
        "insert into kept (driver, ints, texts, doc, raw, amount, at) "
        "values (%s, %s, %s, %s, %s, %s, %s)",
        (DRIVER, INTS, TEXTS, Json(DOC), RAW, AMOUNT, AT),
    )
    with connection.cursor() as cursor:
        cursor.execute(
            "select ints, texts, doc, raw, amount, at from kept where driver = %s", (DRIVER,)
        )
        return values(*cursor.fetchone())


run(DRIVER, psycopg2.__version__.split()[0], {
    "login": login,
    "prepared": lambda: in_threads(worker),
    "copy": copy,
    "errors": errors,
    "cancel": cancel,
    "notices": notices,
    "pipeline": "it waits for each answer",
    "parts": parts,
    "listen": listen,
    "types": types,
})
