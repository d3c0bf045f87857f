// PostgreSQL's JDBC driver: prepared on the server at once, binary where it can.

import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.*;
import java.time.OffsetDateTime;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;
import org.postgresql.util.PGobject;

public class Jdbc {
    static final String DRIVER = "JDBC";
    static final int CONNECTIONS = 20;
    static final int TRANSACTIONS = 50;
    static final String COPIED = IntStream.rangeClosed(1, 1000)
            .mapToObj(n -> n + "\trow " + n + "\n")
            .collect(Collectors.joining());

    /** Carries out one operation, and returns what it got, as JSON. */
    interface Operation {
        String run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        try (Connection connection = connect()) {
            String version = connection.getMetaData().getDriverVersion();
            say("driver", text(DRIVER), "version", text(version));
        }
        operation("login", () -> text(one(connect(), "select current_user::text")));
        operation("prepared", Jdbc::prepared);
        operation("copy", Jdbc::copy);
        operation("errors", Jdbc::errors);
        operation("cancel", Jdbc::cancel);
        operation("notices", Jdbc::notices);
        operation("pipeline", Jdbc::pipeline);
        operation("parts", Jdbc::parts);
        operation("listen", Jdbc::listen);
        operation("types", Jdbc::types);
        // Connections that are still open would keep the process.
        System.exit(0);
    }

    static Connection connect() throws SQLException {
        Map<String, String> env = System.getenv();
        Properties to = new Properties();
        to.setProperty("user", env.get("PGUSER"));
        to.setProperty("password", env.get("PGPASSWORD"));
        to.setProperty("sslmode", "verify-full");
        to.setProperty("sslrootcert", env.get("PGSSLROOTCERT"));
        // The first time, and not only the fifth.
        to.setProperty("prepareThreshold", "1");
        String place = env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + place, to);
    }

    static String one(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            boolean hasRows = statement.execute(sql);
            if (!hasRows) {
                return null;
            }
            ResultSet rows = statement.getResultSet();
            rows.next();
            return rows.getString(1);
        }
    }

    static int[] worker(int number, CyclicBarrier barrier) throws Exception {
        String timeout = (60000 + number) + "ms";
        try (Connection connection = connect()) {
            one(connection, "set lock_timeout = '" + timeout + "'");
            barrier.await(60, TimeUnit.SECONDS);
            connection.setAutoCommit(false);
            PreparedStatement done = connection.prepareStatement(
                    "insert into done (driver, worker, n) values (?, ?, ?)");
            PreparedStatement more = connection.prepareStatement("select ?::int + 1");
            int right = 0;
            for (int n = 0; n < TRANSACTIONS; n++) {
                done.setString(1, DRIVER);
                done.setInt(2, number);
                done.setInt(3, n);
                done.executeUpdate();
                more.setInt(1, n);
                ResultSet rows = more.executeQuery();
                rows.next();
                right += rows.getInt(1) == n + 1 ? 1 : 0;
                connection.commit();
            }
            boolean kept = timeout.equals(one(connection, "show lock_timeout"));
            connection.rollback();
            return new int[] {right, kept ? 1 : 0};
        }
    }

    static String prepared() throws Exception {
        ExecutorService threads = Executors.newFixedThreadPool(CONNECTIONS);
        CyclicBarrier barrier = new CyclicBarrier(CONNECTIONS);
        List<Future<int[]>> workers = new ArrayList<>();
        for (int at = 1; at <= CONNECTIONS; at++) {
            int number = at;
            workers.add(threads.submit(() -> worker(number, barrier)));
        }
        int right = 0;
        int kept = 0;
        for (Future<int[]> worker : workers) {
            right += worker.get()[0];
            kept += worker.get()[1];
        }
        threads.shutdown();
        return "[" + right + "," + kept + "]";
    }

    static String copy() throws Exception {
        CopyManager copies = connect().unwrap(PGConnection.class).getCopyAPI();
        copies.copyIn("copy copied (id, body) from stdin", new StringReader(COPIED));
        StringWriter out = new StringWriter();
        copies.copyOut("copy (select id, body from copied order by id) to stdout", out);
        return String.valueOf(out.toString().equals(COPIED));
    }

    static void refused(Connection connection, String sql, List<String> states) {
        try {
            one(connection, sql);
        } catch (SQLException error) {
            states.add(text(error.getSQLState()));
        }
    }

    static String errors() throws Exception {
        List<String> states = new ArrayList<>();
        Connection connection = connect();
        refused(connection, "insert into once values (1)", states);
        refused(connection, "select 1 / 0", states);
        connection.setAutoCommit(false);
        refused(connection, "select * from missing", states);
        refused(connection, "select 1", states);
        connection.rollback();
        states.add(one(connection, "select 1"));
        return states.toString();
    }

    static String cancel() throws Exception {
        Connection connection = connect();
        Connection other = connect();
        Statement statement = connection.createStatement();
        ExecutorService thread = Executors.newSingleThreadExecutor();
        Future<String> refused = thread.submit(() -> {
            try {
                statement.execute("select pg_sleep(60) /* sleeper of JDBC */");
                return text("it was not cancelled");
            } catch (SQLException error) {
                return text(error.getSQLState());
            }
        });
        String isSleeping = "select count(*) from pg_stat_activity where state = 'active' "
                + "and pid <> pg_backend_pid() and query like '%sleeper of JDBC%'";
        while (!"1".equals(one(other, isSleeping)) && !refused.isDone()) {
            Thread.sleep(20);
        }
        statement.cancel();
        String state = refused.get();
        thread.shutdown();
        return "[" + state + "," + one(connection, "select 1") + "]";
    }

    static String notices() throws Exception {
        try (Statement statement = connect().createStatement()) {
            statement.execute("do $$ begin raise notice 'seen'; end $$");
            return "[" + text(statement.getWarnings().getMessage()) + "]";
        }
    }

    /** Its batches are pipelined. */
    static String pipeline() throws Exception {
        Connection connection = connect();
        PreparedStatement insert =
                connection.prepareStatement("insert into piped (driver, n) values (?, ?)");
        for (int n = 0; n < 100; n++) {
            insert.setString(1, DRIVER);
            insert.setInt(2, n);
            insert.addBatch();
        }
        insert.executeBatch();
        return one(connection, "select sum(n) from piped where driver = 'JDBC'");
    }

    static String parts() throws Exception {
        Connection connection = connect();
        connection.setAutoCommit(false);
        Statement statement = connection.createStatement();
        statement.setFetchSize(100);
        ResultSet rows = statement.executeQuery("select id from many order by id");
        int count = 0;
        while (rows.next()) {
            count++;
        }
        connection.commit();
        return String.valueOf(count);
    }

    static String listen() throws Exception {
        Connection connection = connect();
        one(connection, "listen pgherd_jdbc");
        one(connect(), "notify pgherd_jdbc, 'heard'");
        var heard = connection.unwrap(PGConnection.class).getNotifications(20_000);
        return Arrays.stream(heard).map(it -> text(it.getParameter())).toList().toString();
    }

    static String types() throws Exception {
        Connection connection = connect();
        PreparedStatement insert = connection.prepareStatement(
                "insert into kept (driver, ints, texts, doc, raw, amount, at) "
                        + "values (?, ?, ?, ?, ?, ?, ?)");
        PGobject doc = new PGobject();
        doc.setType("jsonb");
        doc.setValue("{\"a\": [1, 2, {\"b\": null}], \"s\": \"ü\\\"\\\\\"}");
        insert.setString(1, DRIVER);
        insert.setArray(2, connection.createArrayOf("int4", new Integer[] {1, null, 3}));
        String[] texts = {"a", "b,c", "\"q\\", "", null, "ü"};
        insert.setArray(3, connection.createArrayOf("text", texts));
        insert.setObject(4, doc);
        insert.setBytes(5, new byte[] {0, (byte) 255, 39, 92, 10});
        insert.setBigDecimal(6, new BigDecimal("12345678901.000123400"));
        insert.setObject(7, OffsetDateTime.parse("2026-02-03T04:05:06.789Z"));
        insert.executeUpdate();
        ResultSet row = connection.createStatement().executeQuery(
                "select ints, texts, doc, raw, amount, at from kept where driver = 'JDBC'");
        row.next();
        Object[] backInts = (Object[]) row.getArray(1).getArray();
        String[] backTexts = (String[]) row.getArray(2).getArray();
        String array = "[" + Arrays.toString(backInts) + ","
                + Arrays.stream(backTexts).map(Jdbc::text).toList() + "]";
        long at = row.getObject(6, OffsetDateTime.class).toInstant().toEpochMilli();
        return "{\"array\":" + array
                + ",\"json\":" + row.getString(3)
                + ",\"bytea\":" + text(HexFormat.of().formatHex(row.getBytes(4)))
                + ",\"numeric\":" + text(row.getBigDecimal(5).toPlainString())
                + ",\"timestamptz\":" + at + "}";
    }

    static void operation(String name, Operation operation) {
        try {
            say("op", text(name), "got", operation.run());
        } catch (Exception error) {
            say("op", text(name), "failed", text(error.toString()));
        }
    }

    static void say(String firstName, String first, String secondName, String second) {
        System.out.println("{\"" + firstName + "\":" + first + ",\"" + secondName + "\":" + second + "}");
    }

    /** A string as JSON. */
    static String text(String value) {
        if (value == null) {
            return "null";
        }
        String escaped = value.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", "\\n");
        return "\"" + escaped + "\"";
    }
}
