"""pg8000: the extended protocol in pure Python."""

import io
import json
import ssl
from importlib.metadata import version

import pg8000.native

from report import *

DRIVER = "pg8000"


def connect():
    context = ssl.create_default_context(cafile=ROOT)
    return pg8000.native.Connection(
        USER, host=HOST, port=PORT, password=PASSWORD, database=DATABASE, ssl_context=context
    )


def login():
    return connect().run("select current_user::text")[0][0]


def worker(number, barrier):
    connection = connect()
    connection.run(f"set lock_timeout = '{lock_timeout(number)}'")
    done = connection.prepare("insert into done (driver, worker, n) values (:driver, :worker, :n)")
    more = connection.prepare("select cast(:n as int) + 1")
    barrier.wait()
    right = 0
    for n in range(TRANSACTIONS):
        connection.run("begin")
        done.run(driver=DRIVER, worker=number, n=n)
        right += more.run(n=n)[0][0] == n + 1
        connection.run("commit")
    kept = connection.run("show lock_timeout")[0][0]
    connection.close()
    return right, kept == lock_timeout(number)


def copy():
    connection = connect()
    connection.run("copy copied (id, body) from stdin", stream=io.BytesIO(COPIED.encode()))
    out = io.BytesIO()
    connection.run("copy (select id, body from copied order by id) to stdout", stream=out)
    return out.getvalue().decode() == COPIED


def errors():
    connection = connect()
    states = []

    def refused(sql):
        try:
            connection.run(sql)
        except pg8000.native.DatabaseError as error:
            states.append(error.args[0]["C"])

    refused("insert into once values (1)")
    refused("select 1 / 0")
    connection.run("begin")
    refused("select * from missing")
    refused("select 1")
    connection.run("rollback")
    return states + [connection.run("select 1")[0][0]]


def notices():
    connection = connect()
    connection.run("do $$ begin raise notice 'seen'; end $$")
    return [notice[b"M"].decode() for notice in connection.notices]


def listen():
    connection, other = connect(), connect()
    connection.run("listen pgherd_pg8000")
    other.run("notify pgherd_pg8000, 'heard'")

    def heard():
        # It reads what was sent to it when it asks something.
        connection.run("select 1")
        return connection.notifications

    until(heard)
    return [payload for _, _, payload in connection.notifications]


def types():
    connection = connect()
    connection.run(
        "insert into kept (driver, ints, texts, doc, raw, amount, at) "
        "values (:driver, :ints, :texts, cast(:doc as jsonb), :raw, :amount, :at)",
        driver=DRIVER, ints=INTS, texts=TEXTS, doc=json.dumps(DOC), raw=RAW, amount=AMOUNT, at=AT,
    )
    row = connection.run(
        "select ints, texts, doc, raw, amount, at from kept where driver = :driver", driver=DRIVER
    )[0]
    return values(*row)


run(DRIVER, version("pg8000"), {
    "login": login,
    "prepared": lambda: in_threads(worker),
    "copy": copy,
    "errors": errors,
    "cancel": "it sends no cancel requests",
    "notices": notices,
    "pipeline": "it waits for each answer",
    "parts": "it takes all rows at once",
    "listen": listen,
    "types": types,
})
