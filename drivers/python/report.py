"""What the programs here share: whom they talk to, and how they tell what came of it.

A program prints one JSON object a line: first the driver's name and version, then one for each
operation, with what it got, or why the driver has no such operation, or how it failed. The harness
(drivers/src) compares. A program's name ends in _ where the driver's module would be hidden by it.
"""

import json
import os
import threading
import time
from datetime import datetime, timezone
from decimal import Decimal

HOST = os.environ["PGHOST"]
PORT = int(os.environ["PGPORT"])
USER = os.environ["PGUSER"]
PASSWORD = os.environ["PGPASSWORD"]
DATABASE = os.environ["PGDATABASE"]
ROOT = os.environ["PGSSLROOTCERT"]

# 20 connections, of 50 transactions each.
CONNECTIONS = range(1, 21)
TRANSACTIONS = 50

# What is to be copied in, in COPY's text format.
COPIED = "".join(f"{n}\trow {n}\n" for n in range(1, 1001))

# The values that go there and back.
INTS = [1, None, 3]
TEXTS = ["a", "b,c", '"q\\', "", None, "ü"]
DOC = {"a": [1, 2, {"b": None}], "s": "ü\"\\"}
RAW = bytes([0, 255, 39, 92, 10])
AMOUNT = Decimal("12345678901.000123400")
AT = datetime(2026, 2, 3, 4, 5, 6, 789000, tzinfo=timezone.utc)


def say(**line):
    print(json.dumps(line), flush=True)


def run(driver, version, operations):
    """Carries the operations out: each is a function, or the reason why there is none."""
    say(driver=driver, version=version)
    for name, operation in operations.items():
        if isinstance(operation, str):
            say(op=name, none=operation)
            continue
        try:
            say(op=name, got=operation())
        except Exception as error:
            say(op=name, failed=f"{type(error).__name__}: {error}")


def lock_timeout(number):
    """A setting of its own for each connection, as PostgreSQL prints it."""
    return f"{60000 + number}ms"


def in_threads(work):
    """Calls it with the number of each connection and a barrier for those that are connected, in a
    thread each. Returns how many transactions came out right, and how many settings were kept."""
    barrier = threading.Barrier(len(CONNECTIONS), timeout=60)
    results = []
    errors = []

    def body(number):
        try:
            results.append(work(number, barrier))
        except Exception as error:
            barrier.abort()
            errors.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in CONNECTIONS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        causes = [it for it in errors if not isinstance(it, threading.BrokenBarrierError)]
        raise (causes or errors)[0]
    return [sum(right for right, _ in results), sum(kept for _, kept in results)]


def until(is_so):
    """Asks again and again, for as long as the statement to cancel could run by itself."""
    for _ in range(1000):
        if is_so():
            return
        time.sleep(0.02)
    raise TimeoutError("did not happen in 20 s")


# Whether the statement to cancel runs, and the statement: it names its driver.
def is_sleeping(driver):
    return (
        "select count(*) from pg_stat_activity where state = 'active' and pid <> pg_backend_pid() "
        f"and query like '%sleeper of {driver}%'"
    )


def sleeper(driver):
    return f"select pg_sleep(60) /* sleeper of {driver} */"


def values(ints, texts, doc, raw, amount, at):
    """What came back, told as the harness compares it."""
    return {
        "array": [ints, texts],
        "json": doc,
        "bytea": bytes(raw).hex(),
        "numeric": str(amount),
        "timestamptz": round(at.timestamp() * 1000),
    }
