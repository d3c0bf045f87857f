// pgx: the extended protocol in binary, statements prepared and kept by the driver.
package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgtype"
	"github.com/jackc/pgx/v4"
)

const (
	driver       = "pgx"
	connections  = 20
	transactions = 50
	sleeper      = "select pg_sleep(60) /* sleeper of pgx */"
	isSleeping   = "select count(*) from pg_stat_activity where state = 'active' " +
		"and pid <> pg_backend_pid() and query like '%sleeper of pgx%'"
)

var ctx = context.Background()

func main() {
	say(map[string]any{"driver": driver, "version": version()})
	operation("login", login)
	operation("prepared", prepared)
	operation("copy", copying)
	operation("errors", refusals)
	operation("cancel", cancel)
	operation("notices", notices)
	operation("pipeline", pipeline)
	operation("parts", parts)
	operation("listen", listen)
	operation("types", types)
}

// The version of Debian's package, which does not tell it otherwise.
func version() string {
	about, err := os.ReadFile("/var/lib/dpkg/status")
	must(err)
	found := regexp.MustCompile(`(?m)^Package: golang-github-jackc-pgx-v4-dev\n(?:\S.*\n| .*\n)*?Version: ([0-9.]+)`)
	match := found.FindSubmatch(about)
	if match == nil {
		return "4"
	}
	return string(match[1])
}

func say(line map[string]any) {
	text, err := json.Marshal(line)
	must(err)
	fmt.Println(string(text))
}

// Carries an operation out; it panics where it fails.
func operation(name string, run func() any) {
	defer func() {
		if failed := recover(); failed != nil {
			say(map[string]any{"op": name, "failed": fmt.Sprint(failed)})
		}
	}()
	say(map[string]any{"op": name, "got": run()})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func connect(changes ...func(*pgx.ConnConfig)) *pgx.Conn {
	// Where to, and that TLS is to be verified, it reads in the environment.
	config, err := pgx.ParseConfig("")
	must(err)
	for _, change := range changes {
		change(config)
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	must(err)
	return conn
}

func ask[T any](conn interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}, sql string, arguments ...any) T {
	var value T
	must(conn.QueryRow(ctx, sql, arguments...).Scan(&value))
	return value
}

func exec(conn *pgx.Conn, sql string) {
	_, err := conn.Exec(ctx, sql)
	must(err)
}

func login() any {
	return ask[string](connect(), "select current_user::text")
}

func worker(number int, conn *pgx.Conn) (right int, kept bool) {
	for n := 0; n < transactions; n++ {
		must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "insert into done (driver, worker, n) values ($1, $2, $3)", driver, number, n)
			must(err)
			if ask[int](tx, "select $1::int + 1", n) == n+1 {
				right++
			}
			return nil
		}))
	}
	kept = ask[string](conn, "show lock_timeout") == lockTimeout(number)
	must(conn.Close(ctx))
	return right, kept
}

func lockTimeout(number int) string {
	return fmt.Sprintf("%dms", 60000+number)
}

func prepared() any {
	conns := make([]*pgx.Conn, connections)
	for at := range conns {
		conns[at] = connect()
		exec(conns[at], "set lock_timeout = '"+lockTimeout(at+1)+"'")
	}
	var lock sync.Mutex
	var all sync.WaitGroup
	var failed any
	counts := [2]int{}
	for at, conn := range conns {
		all.Add(1)
		go func(number int, conn *pgx.Conn) {
			defer all.Done()
			defer func() {
				if why := recover(); why != nil {
					lock.Lock()
					failed = why
					lock.Unlock()
				}
			}()
			right, kept := worker(number, conn)
			lock.Lock()
			counts[0] += right
			if kept {
				counts[1]++
			}
			lock.Unlock()
		}(at+1, conn)
	}
	all.Wait()
	if failed != nil {
		panic(failed)
	}
	return counts
}

// In binary by its own means, out as text by the protocol's.
func copying() any {
	conn := connect()
	var rows [][]any
	var expected strings.Builder
	for n := 1; n <= 1000; n++ {
		rows = append(rows, []any{n, fmt.Sprintf("row %d", n)})
		fmt.Fprintf(&expected, "%d\trow %d\n", n, n)
	}
	_, err := conn.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"id", "body"}, pgx.CopyFromRows(rows))
	must(err)
	var out bytes.Buffer
	_, err = conn.PgConn().CopyTo(ctx, &out, "copy (select id, body from copied order by id) to stdout")
	must(err)
	return out.String() == expected.String()
}

func refused(conn *pgx.Conn, sql string) string {
	_, err := conn.Exec(ctx, sql)
	return state(err)
}

func state(err error) string {
	var told *pgconn.PgError
	if errors.As(err, &told) {
		return told.Code
	}
	return fmt.Sprint(err)
}

func refusals() any {
	conn := connect()
	states := []any{refused(conn, "insert into once values (1)"), refused(conn, "select 1 / 0")}
	tx, err := conn.Begin(ctx)
	must(err)
	states = append(states, refused(conn, "select * from missing"), refused(conn, "select 1"))
	must(tx.Rollback(ctx))
	return append(states, ask[int](conn, "select 1"))
}

func cancel() any {
	conn, other := connect(), connect()
	told := make(chan string)
	go func() {
		_, err := conn.Exec(ctx, sleeper)
		told <- state(err)
	}()
	for ask[int](other, isSleeping) != 1 {
		time.Sleep(20 * time.Millisecond)
	}
	must(conn.PgConn().CancelRequest(ctx))
	return []any{<-told, ask[int](conn, "select 1")}
}

func notices() any {
	var seen []string
	conn := connect(func(config *pgx.ConnConfig) {
		config.OnNotice = func(_ *pgconn.PgConn, notice *pgconn.Notice) {
			seen = append(seen, notice.Message)
		}
	})
	exec(conn, "do $$ begin raise notice 'seen'; end $$")
	return seen
}

func pipeline() any {
	batch := &pgx.Batch{}
	for n := 0; n < 100; n++ {
		batch.Queue("select $1::int", n)
	}
	results := connect().SendBatch(ctx, batch)
	sum := 0
	for n := 0; n < 100; n++ {
		var value int
		must(results.QueryRow().Scan(&value))
		sum += value
	}
	must(results.Close())
	return sum
}

func listen() any {
	conn, other := connect(), connect()
	exec(conn, "listen pgherd_pgx")
	exec(other, "notify pgherd_pgx, 'heard'")
	limited, end := context.WithTimeout(ctx, 20*time.Second)
	defer end()
	heard, err := conn.WaitForNotification(limited)
	must(err)
	return []string{heard.Payload}
}

// As they come: it does not ask for them in parts.
func parts() any {
	rows, err := connect().Query(ctx, "select id from many order by id")
	must(err)
	count := 0
	for rows.Next() {
		count++
	}
	must(rows.Err())
	return count
}

// All digits of a number with some behind the point: the driver's own text of it has an exponent.
func digits(number *pgtype.Numeric) string {
	text := number.Int.String()
	point := len(text) + int(number.Exp)
	return text[:point] + "." + text[point:]
}

func types() any {
	conn := connect()
	one, three := int32(1), int32(3)
	ints := []*int32{&one, nil, &three}
	var texts []*string
	for _, text := range []string{"a", "b,c", "\"q\\", "", "NULL", "ü"} {
		text := text
		texts = append(texts, &text)
	}
	texts[4] = nil
	doc := map[string]any{"a": []any{1, 2, map[string]any{"b": nil}}, "s": "ü\"\\"}
	raw := []byte{0, 255, 39, 92, 10}
	var amount pgtype.Numeric
	must(amount.Set("12345678901.000123400"))
	at := time.Date(2026, 2, 3, 4, 5, 6, 789000000, time.UTC)
	_, err := conn.Exec(ctx,
		"insert into kept (driver, ints, texts, doc, raw, amount, at) values ($1, $2, $3, $4, $5, $6, $7)",
		driver, ints, texts, doc, raw, &amount, at)
	must(err)
	var backInts []*int32
	var backTexts []*string
	var backDoc any
	var backRaw []byte
	var backAmount pgtype.Numeric
	var backAt time.Time
	row := conn.QueryRow(ctx, "select ints, texts, doc, raw, amount, at from kept where driver = $1", driver)
	must(row.Scan(&backInts, &backTexts, &backDoc, &backRaw, &backAmount, &backAt))
	return map[string]any{
		"array":       []any{backInts, backTexts},
		"json":        backDoc,
		"bytea":       hex.EncodeToString(backRaw),
		"numeric":     digits(&backAmount),
		"timestamptz": backAt.UnixMilli(),
	}
}
