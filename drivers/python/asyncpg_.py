"""asyncpg: the extended protocol in binary, statements prepared and kept by the driver."""

import asyncio
import io
import json
import ssl

import asyncpg

from report import *

DRIVER = "asyncpg"
DONE = "insert into done (driver, worker, n) values ($1, $2, $3)"


async def connect():
    context = ssl.create_default_context(cafile=ROOT)
    return await asyncpg.connect(
        host=HOST, port=PORT, user=USER, password=PASSWORD, database=DATABASE, ssl=context
    )


async def login():
    connection = await connect()
    return await connection.fetchval("select current_user::text")


async def worker(number, barrier):
    connection = await connect()
    await connection.execute(f"set lock_timeout = '{lock_timeout(number)}'")
    done = await connection.prepare(DONE)
    more = await connection.prepare("select $1::int + 1")
    # It has sent no Sync behind them.
    await barrier.wait()
    right = 0
    for n in range(TRANSACTIONS):
        async with connection.transaction():
            await done.fetch(DRIVER, number, n)
            right += await more.fetchval(n) == n + 1
    kept = await connection.fetchval("show lock_timeout")
    await connection.close()
    return right, kept == lock_timeout(number)


async def prepared():
    barrier = asyncio.Barrier(len(CONNECTIONS))
    results = await asyncio.gather(*(worker(number, barrier) for number in CONNECTIONS))
    return [sum(right for right, _ in results), sum(kept for _, kept in results)]


async def copy():
    connection = await connect()
    records = [(n, f"row {n}") for n in range(1, 1001)]
    await connection.copy_records_to_table("copied", records=records, columns=["id", "body"])
    out = io.BytesIO()
    await connection.copy_from_query("select id, body from copied order by id", output=out)
    return out.getvalue().decode() == COPIED


async def errors():
    connection = await connect()
    states = []

    async def refused(sql):
        try:
            await connection.fetch(sql)
        except asyncpg.PostgresError as error:
            states.append(error.sqlstate)

    await refused("insert into once values (1)")
    await refused("select 1 / 0")
    transaction = connection.transaction()
    await transaction.start()
    await refused("select * from missing")
    await refused("select 1")
    await transaction.rollback()
    return states + [await connection.fetchval("select 1")]


async def cancel():
    connection, other = await connect(), await connect()
    # A task that is cancelled sends the request, and keeps the server's answer to itself.
    task = asyncio.create_task(connection.fetch(sleeper(DRIVER)))
    while await other.fetchval(is_sleeping(DRIVER)) != 1:
        await asyncio.sleep(0.02)
    task.cancel()
    try:
        await task
    except asyncio.CancelledError:
        pass
    while await other.fetchval(is_sleeping(DRIVER)) != 0:
        await asyncio.sleep(0.02)
    return ["57014", await connection.fetchval("select 1")]


async def notices():
    connection = await connect()
    seen = []
    connection.add_log_listener(lambda _, message: seen.append(message.message))
    await connection.execute("do $$ begin raise notice 'seen'; end $$")
    while not seen:
        await asyncio.sleep(0.02)
    return seen


async def pipeline():
    connection = await connect()
    rows = [(DRIVER, n) for n in range(100)]
    await connection.executemany("insert into piped (driver, n) values ($1, $2)", rows)
    return await connection.fetchval("select sum(n) from piped where driver = $1", DRIVER)


async def parts():
    connection = await connect()
    async with connection.transaction():
        cursor = connection.cursor("select id from many order by id", prefetch=100)
        return len([row async for row in cursor])


async def listen():
    connection, other = await connect(), await connect()
    heard = asyncio.get_running_loop().create_future()
    await connection.add_listener("pgherd_asyncpg", lambda *told: heard.set_result(told[3]))
    await other.execute("notify pgherd_asyncpg, 'heard'")
    return [await asyncio.wait_for(heard, 20)]


async def types():
    connection = await connect()
    await connection.set_type_codec(
        "jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog"
    )
    await connection.execute(
        "insert into kept (driver, ints, texts, doc, raw, amount, at) "
        "values ($1, $2, $3, $4, $5, $6, $7)",
        DRIVER, INTS, TEXTS, DOC, RAW, AMOUNT, AT,
    )
    row = await connection.fetchrow(
        "select ints, texts, doc, raw, amount, at from kept where driver = $1", DRIVER
    )
    return values(*row)


def awaited(operation):
    return lambda: asyncio.run(operation())


run(DRIVER, asyncpg.__version__, {
    "login": awaited(login),
    "prepared": awaited(prepared),
    "copy": awaited(copy),
    "errors": awaited(errors),
    "cancel": awaited(cancel),
    "notices": awaited(notices),
    "pipeline": awaited(pipeline),
    "parts": awaited(parts),
    "listen": awaited(listen),
    "types": awaited(types),
})
