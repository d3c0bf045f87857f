#!/bin/sh
# Starts, stops and reloads PgBouncers whose files `pgherd pgbouncer-config` has written.
#
# PgBouncer never runs as root: started by root, it runs as $PGBOUNCER_USER, else as `postgres`,
# else as `nobody`; that account is given userlist.txt, which only its owner can read, and the
# folder run/ with the log, the pid file and the Unix socket.

set -u

usage() {
    cat <<'END'
usage: scripts/start_pgbouncer.sh [start|stop|restart|reload|status] [DIR]

  start    start each PgBouncer that does not run (the default)
  stop     let transactions finish, for 10 s at most, and end
  restart  stop, then start
  reload   read pgbouncer.ini and userlist.txt anew; clients stay connected
  status   tell which run; exit code 3 if any does not

DIR (default: config) holds pgbouncer.ini and userlist.txt, or a folder for each node that does.

  PGBOUNCER       the program (default: from the PATH, or /usr/sbin/pgbouncer)
  PGBOUNCER_USER  the account to run under, when started by root
END
}

fail() {
    echo "start_pgbouncer.sh: $*" >&2
    exit 1
}

# The account that PgBouncer runs as; empty: our own.
account() {
    [ "$(id -u)" -eq 0 ] || return 0
    for name in ${PGBOUNCER_USER:-postgres nobody}; do
        if uid=$(id -u "$name" 2>/dev/null); then
            [ "$uid" -ne 0 ] || fail "PGBOUNCER_USER is $name, which is root: PgBouncer refuses that"
            echo "$name"
            return 0
        fi
    done
    fail "as root, an account to run PgBouncer under is needed, and there is no ${PGBOUNCER_USER:-postgres or nobody}: set PGBOUNCER_USER"
}

program() {
    if [ -n "${PGBOUNCER:-}" ]; then
        command -v "$PGBOUNCER" || fail "PGBOUNCER is $PGBOUNCER, which cannot be run"
    else
        command -v pgbouncer || command -v /usr/sbin/pgbouncer ||
            fail "PgBouncer is not installed: run \`cargo x setup\` or \`apt-get install pgbouncer\`"
    fi
}

# Runs a command as the account.
as_account() {
    if [ -z "$account" ]; then
        "$@"
    else
        setpriv --reuid="$account" --regid="$(id -g "$account")" --init-groups -- "$@"
    fi
}

# Whether process $1 is a PgBouncer that lives. One that has ended and that nobody has waited for,
# as in a container without an init, keeps its process id.
lives() {
    [ "$(cat "/proc/$1/comm" 2>/dev/null)" = pgbouncer ] && ! grep -q '^State:.*Z' "/proc/$1/status"
}

# The process id of the PgBouncer of the current folder, if it runs. A file that a killed one has
# left may name that of another folder by now; whose folder it is only root and its owner may see.
running() {
    pid=$(cat run/pgbouncer.pid 2>/dev/null) || return 1
    lives "$pid" || return 1
    its_folder=$(readlink "/proc/$pid/cwd" 2>/dev/null) || its_folder=$(pwd -P)
    [ "$its_folder" = "$(pwd -P)" ] || return 1
    echo "$pid"
}

setting() {
    sed -n "s/^$1 *= *//p" pgbouncer.ini | tail -n 1
}

# Waits up to $1 seconds for a command to succeed.
wait_for() {
    tries=$(($1 * 10))
    shift
    while ! "$@"; do
        [ "$tries" -gt 0 ] || return 1
        tries=$((tries - 1))
        sleep 0.1
    done
}

new_log() {
    tail -n "+$((log_before + 1))" run/pgbouncer.log 2>/dev/null
}

# Listens and has named its process, which it does after it listens; or has said why not.
is_settled() {
    { [ -S "run/.s.PGSQL.$port" ] && running >/dev/null; } || new_log | grep -q FATAL
}

is_gone() {
    ! lives "$pid"
}

start() {
    if pid=$(running); then
        echo "$folder: runs already (pid $pid)"
        return 0
    fi
    [ -r userlist.txt ] || fail "$folder has no userlist.txt that can be read: run \`pgherd pgbouncer-config\`"
    mkdir -p run && chmod 700 run || fail "cannot make $folder/run"
    if [ -n "$account" ]; then
        chown -R "$account" userlist.txt run || fail "cannot give $folder/userlist.txt and run/ to $account"
    fi
    as_account test -r userlist.txt ||
        fail "$account cannot read $folder/userlist.txt: choose a folder that everybody can enter"
    port=$(setting listen_port)
    # One that was killed leaves these behind, and they would say that the new one is there.
    rm -f run/pgbouncer.pid "run/.s.PGSQL.$port"
    log_before=$(cat run/pgbouncer.log 2>/dev/null | wc -l)
    said=$(as_account "$program" -d pgbouncer.ini 2>&1) || fail "$folder: PgBouncer does not start: $said"
    wait_for 10 is_settled || fail "$folder: PgBouncer does not listen: $said $(new_log)"
    log=$(new_log)
    pid=$(running) || fail "$folder: PgBouncer has ended at once: $log"
    case "$log" in
    *"could not listen"* | *"cannot listen"* | *"ddress already in use"*)
        kill "$pid"
        fail "$folder: somebody else listens on port $port: $log"
        ;;
    esac
    echo "$folder: started (pid $pid), $(setting listen_addr) port $port"
}

stop() {
    if ! pid=$(running); then
        echo "$folder: does not run"
        return 0
    fi
    kill -INT "$pid" || fail "$folder: may not stop pid $pid: be root or its owner"
    if ! wait_for 10 is_gone; then
        echo "$folder: transactions go on; ended all the same" >&2
        kill -TERM "$pid"
        wait_for 5 is_gone || fail "$folder: pid $pid does not end"
    fi
    echo "$folder: stopped"
}

reload() {
    pid=$(running) || fail "$folder: does not run"
    if [ -n "$account" ]; then
        chown "$account" userlist.txt || fail "cannot give $folder/userlist.txt to $account"
    fi
    kill -HUP "$pid" || fail "$folder: may not signal pid $pid: be root or its owner"
    echo "$folder: reads its files anew (pid $pid)"
}

status() {
    if pid=$(running); then
        echo "$folder: runs (pid $pid), $(setting listen_addr) port $(setting listen_port)"
    else
        echo "$folder: does not run"
        exit_code=3
    fi
}

action=${1:-start}
dir=${2:-config}
case "$action" in
start | stop | restart | reload | status) ;;
-h | --help | help)
    usage
    exit 0
    ;;
*)
    usage >&2
    exit 2
    ;;
esac
[ $# -le 2 ] || { usage >&2; exit 2; }

if [ -f "$dir/pgbouncer.ini" ]; then
    folders=$dir
else
    folders=
    for ini in "$dir"/*/pgbouncer.ini; do
        [ -f "$ini" ] && folders="$folders
${ini%/pgbouncer.ini}"
    done
    [ -n "$folders" ] || fail "no pgbouncer.ini in $dir or a folder in it: run \`pgherd pgbouncer-config --dir $dir\`"
fi
account=$(account) || exit 1
program=$(program) || exit 1
exit_code=0
here=$(pwd)
# By lines: a folder may have blanks in its name.
IFS='
'
for folder in $folders; do
    cd "$here" && cd "$folder" || fail "cannot enter $folder"
    case "$action" in
    restart)
        stop
        start
        ;;
    *) "$action" ;;
    esac
done
exit "$exit_code"
