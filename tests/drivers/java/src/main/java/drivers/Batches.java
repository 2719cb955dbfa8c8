package drivers;

import static drivers.Database.connect;
import static drivers.Database.describe;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.rows;
import static drivers.Database.value;

import java.sql.BatchUpdateException;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Batches: many executions before a Sync, which pgjdbc sends as one pipeline. */
final class Batches {
    private Batches() {}

    static Object batch() throws Exception {
        return batches();
    }

    /** pgjdbc turns an INSERT for each row into ones of many rows, of several lengths. */
    static Object rewritten() throws Exception {
        return batches("reWriteBatchedInserts", "true");
    }

    private static Object batches(String... options) throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect(options)) {
            for (int size : new int[] {1, 7, 130, 1000}) {
                outcome.put("insert " + size, insert(connection, 1000 * size, size, 0));
            }
            outcome.put("sum", query(connection, "select count(*), sum(id), sum(length(payload)) from copied"));
            outcome.put("large rows", insert(connection, 0, 40, 10_000)); // more than pgjdbc sends before it must read
            connection.setAutoCommit(false);
            outcome.put("in a transaction", insert(connection, 500, 20, 1));
            connection.rollback();
            outcome.put("rolled back", value(connection, "select count(*) from copied"));
            connection.setAutoCommit(true);
            outcome.put("error", failing(connection));
            outcome.put("keys", generatedKeys(connection));
            outcome.put("statements", plainStatements(connection));
            outcome.put("prices", query(connection, "select id, price from item where id <= ? order by id", 5));
        }
        return outcome;
    }

    private static Object insert(Connection connection, int first, int size, int payload) throws Exception {
        String sql = "insert into copied (id, name, payload) values (?, ?, ?)";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            for (int i = 0; i < size; i++) {
                Database.bind(statement, first + i, "row " + i, new byte[payload]);
                statement.addBatch();
            }
            int[] counts = statement.executeBatch();
            return List.of(counts.length, Arrays.stream(counts).boxed().distinct().toList());
        }
    }

    /** An error in the middle: what was counted before it, and what stays, without and within a transaction. */
    private static Object failing(Connection connection) throws Exception {
        List<Object> outcome = new ArrayList<>();
        for (boolean autoCommit : new boolean[] {true, false}) {
            connection.setAutoCommit(autoCommit);
            String sql = "update item set price = 100 / ? where id = ?";
            try (PreparedStatement statement = connection.prepareStatement(sql)) {
                for (int divisor : new int[] {1, 2, 4, 0, 5}) {
                    Database.bind(statement, divisor, 1 + divisor);
                    statement.addBatch();
                }
                statement.executeBatch();
            } catch (BatchUpdateException error) {
                outcome.add(error.getUpdateCounts());
                for (SQLException each = error; each != null; each = each.getNextException()) {
                    outcome.add(describe(each));
                }
            }
            if (!autoCommit) {
                connection.rollback();
                connection.setAutoCommit(true);
            }
            outcome.add(query(connection, "select id, price from item where id <= ? order by id", 6));
        }
        return outcome;
    }

    private static Object generatedKeys(Connection connection) throws Exception {
        String sql = "insert into item (id, name) values (? + 0, ?)";
        try (PreparedStatement statement = connection.prepareStatement(sql, new String[] {"id", "made"})) {
            for (int id = 101; id < 120; id++) {
                Database.bind(statement, id, "new " + id);
                statement.addBatch();
            }
            int total = Arrays.stream(statement.executeBatch()).sum();
            return List.of(total, rows(statement.getGeneratedKeys()));
        }
    }

    private static Object plainStatements(Connection connection) throws Exception {
        try (Statement statement = connection.createStatement()) {
            statement.addBatch("update item set price = id where id <= 5");
            statement.addBatch("insert into copied (id) values (9), (10)");
            statement.addBatch("delete from copied where id in (9, 10)");
            return statement.executeBatch();
        }
    }
}
