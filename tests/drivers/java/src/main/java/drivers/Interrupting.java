package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.value;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/** Statements that do not come to their end, and connections. */
final class Interrupting {
    private static final long SLOW_NS = 30_000_000_000L;

    private Interrupting() {}

    static Object cancel() throws Exception {
        List<Object> outcome = new ArrayList<>();
        ExecutorService thread = Executors.newSingleThreadExecutor();
        try (Connection connection = connect();
                Connection other = connect();
                Statement plain = connection.createStatement();
                PreparedStatement prepared = connection.prepareStatement("select slow(?) as prepared")) {
            prepared.setDouble(1, 61);
            long begin = System.nanoTime();
            outcome.add(cancelled(thread, other, plain, "select slow(60)", () -> plain.execute("select slow(60)")));
            outcome.add(value(connection, "select 1"));
            outcome.add(cancelled(thread, other, prepared, "% as prepared", prepared::executeQuery));
            connection.setAutoCommit(false);
            outcome.add(cancelled(thread, other, plain, "select slow(62)", () -> plain.execute("select slow(62)")));
            outcome.add(attempt(() -> value(connection, "select 2")));
            connection.rollback();
            outcome.add(value(connection, "select 3"));
            connection.commit();
            plain.cancel(); // nothing runs
            outcome.add(value(connection, "select 4"));
            connection.commit();
            outcome.add("within 30 s: " + (System.nanoTime() - begin < SLOW_NS));
        } finally {
            thread.shutdown();
        }
        return outcome;
    }

    private static Object cancelled(
            ExecutorService thread, Connection other, Statement statement, String pattern, Database.Attempt attempt)
            throws Exception {
        Future<Object> end = thread.submit(() -> attempt(attempt));
        String running = "select count(*) from pg_stat_activity where state = 'active' and query like ?"
                + " and pid <> pg_backend_pid()";
        while (!query(other, running, pattern).get(0).get(0).equals(1L)) {
            Thread.sleep(10);
        }
        statement.cancel();
        return end.get();
    }

    static Object statementTimeout() throws Exception {
        List<Object> outcome = new ArrayList<>();
        long begin = System.nanoTime();
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            execute(connection, "set local statement_timeout = '100ms'");
            outcome.add(attempt(() -> value(connection, "select slow(60)")));
            connection.rollback();
            outcome.add(value(connection, "select slow(0.2)"));
            connection.commit();
            connection.setAutoCommit(true);
            try (Statement statement = connection.createStatement()) {
                statement.setQueryTimeout(1); // pgjdbc's own clock, and a cancel request
                outcome.add(attempt(() -> statement.execute("select slow(60)")));
                outcome.add(attempt(() -> statement.execute("select slow(0)")));
            }
        }
        try (Connection connection = connect("options", "-c statement_timeout=400ms");
                Connection other = connect()) {
            outcome.add(attempt(() -> value(connection, "select slow(60)")));
            outcome.add(value(other, "select slow(0.6)"));
            outcome.add(attempt(() -> query(connection, "select slow(?)", 60.0)));
            outcome.add(value(connection, "select 1"));
        }
        outcome.add("within 30 s: " + (System.nanoTime() - begin < SLOW_NS));
        return outcome;
    }

    static Object connectionLost() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect()) {
            outcome.add(attempt(() -> value(connection, "select pg_terminate_backend(pg_backend_pid())")));
            outcome.add(attempt(() -> value(connection, "select 1")));
            outcome.add("closed: " + connection.isClosed());
        }
        try (Connection connection = connect()) {
            outcome.add(value(connection, "select 2"));
        }
        return outcome;
    }
}
