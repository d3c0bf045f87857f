"""psql, fed with scripts."""

import json
import os
import re
import signal
import subprocess

from report import *

DRIVER = "psql"
PSQL = [os.environ.get("PSQL", "psql"), "-X", "-A", "-t", "-q"]


def start(*more):
    # Where to, and that TLS is to be verified, it reads in the environment.
    pipe = subprocess.PIPE
    return subprocess.Popen([*PSQL, *more], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def ask(script, *more):
    """What it prints for a script: its answers, and its errors and notices."""
    out, err = start(*more).communicate(script)
    return out.strip(), err.strip()


def told(script):
    out, err = ask(script)
    if err:
        raise RuntimeError(err)
    return out


def login():
    return told("select current_user;")


def script(number):
    yield "prepare done as insert into done (driver, worker, n) values ($1, $2, $3);"
    yield "prepare more as select $1::int + 1;"
    for n in range(TRANSACTIONS):
        yield f"begin; execute done ('{DRIVER}', {number}, {n}); execute more ({n}); commit;"
    yield "show lock_timeout;"


def prepared():
    running = [start() for _ in CONNECTIONS]
    for number, psql in zip(CONNECTIONS, running):
        psql.stdin.write(f"set lock_timeout = '{lock_timeout(number)}';\n\\echo ready\n")
        psql.stdin.flush()
    for psql in running:
        psql.stdout.readline()
    for number, psql in zip(CONNECTIONS, running):
        psql.stdin.write("\n".join(script(number)) + "\n")
        psql.stdin.close()
    right = kept = 0
    for number, psql in zip(CONNECTIONS, running):
        *answers, setting = psql.stdout.read().split()
        right += sum(answer == str(n + 1) for n, answer in enumerate(answers))
        kept += setting == lock_timeout(number)
        psql.wait()
    return [right, kept]


def copy():
    told(f"copy copied (id, body) from stdin;\n{COPIED}\\.\n")
    return told("copy (select id, body from copied order by id) to stdout;") + "\n" == COPIED


def errors():
    out, err = ask(
        "\\set VERBOSITY sqlstate\ninsert into once values (1); select 1 / 0;\n"
        "begin; select * from missing; select 1; rollback; select 1;"
    )
    return re.findall(r"ERROR:  (\w+)", err) + [int(out)]


def cancel():
    psql = start("-v", "VERBOSITY=sqlstate", "-c", sleeper(DRIVER))
    until(lambda: told(is_sleeping(DRIVER)) == "1")
    # What Ctrl-C sends.
    psql.send_signal(signal.SIGINT)
    _, err = psql.communicate()
    return re.findall(r"ERROR:  (\w+)", err) + [int(told("select 1;"))]


def notices():
    _, err = ask("do $$ begin raise notice 'seen'; end $$;")
    return re.findall(r"NOTICE:  (\w+)", err)


def parts():
    return len(told("\\set FETCH_COUNT 100\nselect id from many order by id;").split())


def listen():
    # It looks for notifications after each statement.
    out = told("listen pgherd_psql;\nnotify pgherd_psql, 'heard';\nselect 1;")
    return re.findall(r'with payload "(\w+)"', out)


def types():
    quoted = lambda value: "'" + str(value).replace("'", "''") + "'"
    array = lambda items: quoted("{" + ",".join(map(item, items)) + "}")
    item = lambda value: "null" if value is None else json.dumps(value, ensure_ascii=False)
    told(
        "prepare kept as insert into kept (driver, ints, texts, doc, raw, amount, at) "
        "values ($1, $2, $3, $4, $5, $6, $7);\n"
        f"execute kept ({quoted(DRIVER)}, {array(INTS)}, {array(TEXTS)}, {quoted(json.dumps(DOC))}, "
        f"{quoted(chr(92) + 'x' + RAW.hex())}, {AMOUNT}, {quoted(AT)});"
    )
    row = told(
        "select json_build_array(ints, texts, doc, encode(raw, 'hex'), amount::text, at) "
        f"from kept where driver = '{DRIVER}';"
    )
    ints, texts, doc, raw, amount, at = json.loads(row)
    return values(ints, texts, doc, bytes.fromhex(raw), amount, datetime.fromisoformat(at))


version = subprocess.run([PSQL[0], "--version"], capture_output=True, text=True).stdout.split()[2]
run(DRIVER, version, {
    "login": login,
    "prepared": prepared,
    "copy": copy,
    "errors": errors,
    "cancel": cancel,
    "notices": notices,
    "pipeline": "it waits for each answer (before version 18)",
    "parts": parts,
    "listen": listen,
    "types": types,
})
