package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.value;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSetMetaData;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;

/**
 * Prepared statements on the server. pgjdbc names them S_1, S_2 and so on in every connection, from the fifth
 * execution on, or from the first where prepareThreshold is 1.
 */
final class Preparing {
    private static final int CLIENTS = 6;
    private static final int ROUNDS = 40;

    private Preparing() {}

    static Object prepared() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            try (PreparedStatement statement = connection.prepareStatement("select name from item where amount = ?")) {
                List<Object> names = new ArrayList<>();
                for (int i = 0; i < ROUNDS; i++) {
                    names.add(query(statement, 10 * (i % 12)));
                }
                outcome.put("names", names);
            }
            String sql = "update item set price = price + 1 where id = ? returning price";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                List<Object> prices = new ArrayList<>();
                for (int i = 0; i < ROUNDS; i++) {
                    prices.add(query(statement, 1 + i % 3));
                }
                outcome.put("prices", prices);
            }
            outcome.put("described", attempt(() -> describe(connection)));
        }
        return outcome;
    }

    private static Object describe(Connection connection) throws Exception {
        String sql = "select id, name as title, price from item where name like ? and price > ?";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            List<Object> types = new ArrayList<>();
            types.add(statement.getParameterMetaData().getParameterTypeName(1));
            types.add(statement.getParameterMetaData().getParameterTypeName(2));
            ResultSetMetaData columns = statement.getMetaData();
            for (int i = 1; i <= columns.getColumnCount(); i++) {
                types.add(columns.getColumnLabel(i) + " " + columns.getColumnTypeName(i));
            }
            return types;
        }
    }

    /** All at once at first; then in step, where a client's transaction keeps one server from the others. */
    static Object manyClients() throws Exception {
        List<Connection> clients = new ArrayList<>();
        ExecutorService threads = Executors.newFixedThreadPool(CLIENTS);
        try {
            List<Future<Object>> results = new ArrayList<>();
            for (int i = 0; i < CLIENTS; i++) {
                Connection connection = connect("prepareThreshold", i % 2 == 0 ? "1" : "3");
                int number = i;
                clients.add(connection);
                results.add(threads.submit(() -> executions(connection, number)));
            }
            List<Object> atOnce = new ArrayList<>();
            for (Future<Object> result : results) {
                atOnce.add(result.get());
            }
            return Map.of("at once", atOnce, "in step", inStep(clients));
        } finally {
            threads.shutdown();
            for (Connection connection : clients) {
                connection.close();
            }
        }
    }

    /** The same name means another statement in each client: each prepares its statements in an order of its own. */
    private static Object executions(Connection connection, int number) throws Exception {
        List<PreparedStatement> statements = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            String shared = "select ? + " + (number + i) % 4;
            String own = "select ? || ' " + i + " of client " + number + "'";
            statements.add(connection.prepareStatement(i % 2 == 0 ? shared : own));
        }
        List<Object> found = new ArrayList<>();
        for (int round = 0; round < ROUNDS; round++) {
            int which = (round * 7 + number) % statements.size();
            Object parameter = which % 2 == 0 ? (Object) (round * 100) : "round " + round;
            found.add(query(statements.get(which), parameter).get(0).get(0));
        }
        for (PreparedStatement statement : statements) {
            statement.close();
        }
        return found;
    }

    private static Object inStep(List<Connection> clients) throws Exception {
        List<Object> found = new ArrayList<>();
        for (int round = 0; round < ROUNDS; round++) {
            Connection holder = clients.get(round % clients.size());
            Connection other = clients.get((round * 5 + 1 + round / 6) % clients.size());
            holder.setAutoCommit(false);
            found.add(query(holder, "select name from item where id = ?", 1 + round % 10));
            found.add(query(other, "select name from item where id = ?", 1 + round % 7));
            found.add(query(other, "select ?::text || " + round % 9, "other"));
            found.add(query(holder, "select count(*) from item where amount > ?", 10 * (round % 10)));
            holder.commit();
            holder.setAutoCommit(true);
        }
        return found;
    }

    static Object reuseAfterError() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect();
                PreparedStatement divide = connection.prepareStatement("select 60 / ?");
                PreparedStatement missing = connection.prepareStatement("select count(*) from not_yet where id > ?")) {
            for (int divisor : new int[] {1, 2, 0, 3, 6, 0, 0, 5, 10, 0, 4}) {
                outcome.add(attempt(() -> query(divide, divisor)));
            }
            outcome.add(attempt(() -> query(divide, "no number")));
            outcome.add(attempt(() -> query(divide, 5)));
            outcome.add(attempt(() -> query(missing, 0)));
            execute(connection, "create table not_yet as select 1 as id");
            outcome.add(attempt(() -> query(missing, 0)));
            connection.setAutoCommit(false);
            for (int divisor : new int[] {6, 0, 10}) {
                outcome.add(attempt(() -> query(divide, divisor)));
            }
            connection.rollback();
            outcome.add(attempt(() -> query(divide, 12)));
            execute(connection, "drop table not_yet");
            connection.commit();
            outcome.add(attempt(() -> query(missing, 0)));
        }
        return outcome;
    }

    static Object unprepared() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect("prepareThreshold", "0", "preparedStatementCacheQueries", "0")) {
            String sql = "select id, ?::text, tags from item where id = ?";
            for (int i = 0; i < ROUNDS; i++) {
                outcome.add(query(connection, sql, "run " + i, 1 + i % 10));
            }
            outcome.add(attempt(() -> query(connection, "select ?::int4 / 0", 1)));
            outcome.add(query(connection, "select ?::bytea, ?::bool", new byte[] {0, 1}, true));
        }
        return outcome;
    }

    /** More statements than the proxy keeps; pgjdbc keeps 256, and closes none of these. */
    static Object manyStatements() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection one = connect();
                Connection two = connect("preparedStatementCacheQueries", "20")) {
            for (int pass = 0; pass < 7; pass++) {
                long total = 0;
                for (int i = 0; i < 200; i++) {
                    String sql = "select ? * " + i;
                    total += ((Number) query(one, sql, pass + 1).get(0).get(0)).longValue();
                    total += 1000 * ((Number) query(two, sql, pass + 1).get(0).get(0)).longValue();
                }
                outcome.add(total);
            }
        }
        return outcome;
    }

    /** Another connection changes the table under a prepared statement, which selects all columns. */
    static Object schemaChange() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect();
                Connection owner = connect();
                PreparedStatement all = connection.prepareStatement("select * from changing where id = ?")) {
            execute(owner, "create table changing as select 1 as id, 'one' as name");
            for (int i = 0; i < 6; i++) {
                outcome.add(attempt(() -> query(all, 1)));
            }
            execute(owner, "alter table changing add column extra integer default 7");
            for (int i = 0; i < 6; i++) {
                outcome.add(attempt(() -> query(all, 1)));
            }
            execute(owner, "alter table changing alter column extra type text");
            connection.setAutoCommit(false);
            for (int i = 0; i < 2; i++) {
                outcome.add(attempt(() -> query(all, 1)));
            }
            connection.rollback();
            outcome.add(attempt(() -> query(all, 1)));
            connection.commit();
            execute(owner, "alter table changing drop column extra");
            connection.setAutoCommit(true);
            outcome.add(attempt(() -> query(all, 1)));
            execute(owner, "drop table changing");
            outcome.add(attempt(() -> query(all, 1)));
            outcome.add(value(connection, "select 1"));
        }
        return outcome;
    }
}
