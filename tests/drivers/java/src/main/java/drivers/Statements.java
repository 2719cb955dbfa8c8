package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.rows;
import static drivers.Database.value;

import java.sql.Connection;
import java.sql.DatabaseMetaData;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.SQLWarning;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import org.postgresql.PGConnection;
import org.postgresql.util.PSQLWarning;

/** What comes back from single statements: notices, errors, several results, and what the server says of itself. */
final class Statements {
    private Statements() {}

    static Object notices() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect();
                Statement statement = connection.createStatement()) {
            for (String sql : List.of(
                    "select noisy('one'), noisy('zwei ü')",
                    "drop table if exists nothing_of_this_name",
                    "do $$ begin raise warning using message = 'careful', detail = 'd', hint = 'h', errcode = '01ABC'; "
                            + "end $$",
                    "select noisy(name) from item where id < 4 order by id",
                    "commit",
                    "select 1")) {
                statement.execute(sql);
                outcome.add(warnings(statement));
            }
            connection.setAutoCommit(false);
            execute(connection, "set local client_min_messages = warning");
            statement.execute("select noisy('not heard')");
            outcome.add(warnings(statement));
            connection.commit();
            statement.execute("select noisy('heard')");
            outcome.add(warnings(statement));
            connection.rollback();
        }
        return outcome;
    }

    private static List<Object> warnings(Statement statement) throws SQLException {
        List<Object> found = new ArrayList<>();
        for (SQLWarning each = statement.getWarnings(); each != null; each = each.getNextWarning()) {
            var server = ((PSQLWarning) each).getServerErrorMessage();
            found.add(List.of(
                    String.valueOf(server.getSeverity()),
                    String.valueOf(server.getSQLState()),
                    String.valueOf(server.getMessage()),
                    String.valueOf(server.getDetail()),
                    String.valueOf(server.getHint())));
        }
        return found;
    }

    static Object errors() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            for (String sql : List.of(
                    "selekt 1",
                    "select *\nfrom no_such_table",
                    "select no_such_column from item",
                    "insert into item (name) values ('item 1')",
                    "insert into item (name) values (null)",
                    "select 1 / 0",
                    "select 'x'::int4",
                    "select no_such_function(1)",
                    "do $$ begin raise exception using message = 'own', detail = 'd', hint = 'h', errcode = 'P1234'; "
                            + "end $$",
                    "savepoint outside",
                    "set no_such_setting = 1")) {
                outcome.put(sql, attempt(() -> {
                    execute(connection, sql);
                    return "done";
                }));
            }
            outcome.put("parameter", attempt(() -> query(connection, "select ?::int4", "many")));
            outcome.put("too few parameters", attempt(() -> query(connection, "select ?::int4, ?::int4", 1)));
            outcome.put("zero byte", attempt(() -> query(connection, "select ?::text", "a\0b")));
            outcome.put("afterwards", value(connection, "select 1"));
        }
        return outcome;
    }

    /** pgjdbc sends the statements of one string as a pipeline with one Sync. */
    static Object emptyAndMulti() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect();
                Statement statement = connection.createStatement()) {
            for (String sql : List.of(
                    "",
                    ";",
                    "-- only a comment",
                    "select 1; select 'two', 2; select where false",
                    ";;select 3;;",
                    "update item set flag = flag where id < 4; select 4; delete from item where id < 0",
                    "insert into item (id, name) values (50, 'fifty'); select 1 / 0; select 5",
                    "select count(*) from item where id = 50",
                    "begin; insert into item (id, name) values (51, 'x'); rollback; select count(*) from item",
                    "begin; select 6; select 1 / 0; commit",
                    "select 7",
                    "rollback",
                    "select 8")) {
                outcome.add(attempt(() -> results(statement, sql)));
            }
        }
        return outcome;
    }

    private static Object results(Statement statement, String sql) throws SQLException {
        List<Object> found = new ArrayList<>();
        boolean hasRows = statement.execute(sql);
        while (hasRows || statement.getUpdateCount() != -1) {
            if (hasRows) {
                try (ResultSet result = statement.getResultSet()) {
                    found.add(rows(result));
                }
            } else {
                found.add(statement.getUpdateCount());
            }
            hasRows = statement.getMoreResults();
        }
        return found;
    }

    static Object serverInfo() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            DatabaseMetaData meta = connection.getMetaData();
            outcome.put("product", meta.getDatabaseProductName() + " " + meta.getDatabaseProductVersion());
            outcome.put("isolation", connection.getTransactionIsolation());
            Map<String, String> statuses = new TreeMap<>(connection.unwrap(PGConnection.class).getParameterStatuses());
            statuses.keySet().removeAll(Set.of("is_superuser", "session_authorization")); // who logs in may differ
            outcome.put("parameters", statuses);
            outcome.put("read only", connection.isReadOnly());
            outcome.put("valid", connection.isValid(5));
            outcome.put("catalog", value(connection, "select current_schema()"));
        }
        return outcome;
    }

    /** What tools ask the catalogs, in long statements with their own comments and quotes. */
    static Object metadata() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            DatabaseMetaData meta = connection.getMetaData();
            outcome.put("columns", names(meta.getColumns(null, "public", "item", null), "COLUMN_NAME", "TYPE_NAME"));
            outcome.put("tables", names(meta.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME"));
            outcome.put("keys", names(meta.getPrimaryKeys(null, "public", "item"), "COLUMN_NAME", "PK_NAME"));
            outcome.put("indexes", names(meta.getIndexInfo(null, "public", "item", true, false), "INDEX_NAME"));
            outcome.put("functions", names(meta.getFunctions(null, "public", "%"), "FUNCTION_NAME"));
            int type = ResultSet.TYPE_SCROLL_SENSITIVE;
            try (Statement statement = connection.createStatement(type, ResultSet.CONCUR_UPDATABLE);
                    ResultSet item = statement.executeQuery("select * from item where id = 9")) {
                item.next();
                item.updateInt("amount", 99);
                item.updateRow();
                item.refreshRow();
                outcome.put("updated", item.getInt("amount"));
            }
            outcome.put("stored", value(connection, "select amount from item where id = 9"));
        }
        return outcome;
    }

    private static List<Object> names(ResultSet result, String... columns) throws SQLException {
        List<Object> found = new ArrayList<>();
        try (result) {
            while (result.next()) {
                List<Object> row = new ArrayList<>();
                for (String column : columns) {
                    row.add(result.getString(column));
                }
                found.add(row);
            }
        }
        return found;
    }
}
