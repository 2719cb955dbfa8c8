package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.value;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.Savepoint;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Transactions, savepoints, and errors in them. */
final class Transactions {
    private Transactions() {}

    static Object errors() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            outcome.add(query(connection, "update item set amount = ? where id = 1 returning amount", 1));
            outcome.add(attempt(() -> value(connection, "select 1 / 0")));
            outcome.add(attempt(() -> value(connection, "select 2")));
            outcome.add(attempt(() -> query(connection, "select ?::int4", 3)));
            connection.rollback();
            outcome.add(value(connection, "select amount from item where id = 1"));
            Savepoint before = connection.setSavepoint("before \"it\"");
            outcome.add(attempt(() -> query(connection, "insert into item (name) values (?)", "item 2")));
            outcome.add(attempt(() -> value(connection, "select 4")));
            connection.rollback(before);
            outcome.add(value(connection, "select 5"));
            Savepoint unnamed = connection.setSavepoint();
            execute(connection, "update item set amount = 6 where id = 1");
            connection.releaseSavepoint(unnamed);
            outcome.add(attempt(() -> {
                connection.rollback(unnamed);
                return null;
            }));
            outcome.add(value(connection, "select amount from item where id = 1"));
            outcome.add(attempt(() -> value(connection, "select no_such_column from item")));
            outcome.add(attempt(() -> {
                connection.commit(); // pgjdbc tells that the server rolled back
                return "committed";
            }));
            outcome.add(value(connection, "select amount from item where id = 1"));
            connection.rollback();
        }
        return outcome;
    }

    /** pgjdbc sets a savepoint before each statement, and goes back to it when the statement fails. */
    static Object autosave() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        for (String mode : List.of("always", "conservative", "never")) {
            List<Object> found = new ArrayList<>();
            try (Connection connection = connect("autosave", mode, "cleanupSavepoints", "true");
                    PreparedStatement all = connection.prepareStatement("select * from saved where id = ?")) {
                execute(connection, "create table saved as select 1 as id");
                for (int i = 0; i < 6; i++) {
                    found.add(attempt(() -> query(all, 1)));
                }
                connection.setAutoCommit(false);
                found.add(attempt(() -> query(all, 1)));
                execute(connection, "alter table saved add column extra text default 'e'");
                for (int i = 0; i < 2; i++) {
                    found.add(attempt(() -> query(all, 1)));
                }
                found.add(attempt(() -> query(connection, "select 1 / ?", 0)));
                found.add(attempt(() -> query(connection, "select ? + 1", 1)));
                found.add(attempt(() -> query(all, 1)));
                connection.rollback();
                found.add(attempt(() -> query(all, 1)));
                connection.rollback();
                execute(connection, "drop table saved");
                connection.commit();
            }
            outcome.put(mode, found);
        }
        return outcome;
    }

    static Object transactions() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection one = connect();
                Connection two = connect()) {
            outcome.put("levels", levels(one));
            outcome.put("read only", readOnly(one));
            one.setAutoCommit(false);
            execute(one, "update item set amount = 7 where id = 7");
            String sql = "select amount from item where id = 7";
            List<Object> seen = new ArrayList<>(List.of(value(one, sql), value(two, sql)));
            one.commit();
            seen.add(value(two, sql));
            execute(one, "update item set amount = 8 where id = 7");
            one.rollback();
            seen.add(value(two, sql));
            outcome.put("seen", seen);
            outcome.put("repeatable read", repeatableRead(one, two));
            outcome.put("conflict", conflict(one, two));
        }
        return outcome;
    }

    private static Object levels(Connection connection) throws Exception {
        List<Object> found = new ArrayList<>();
        for (String level : List.of("read committed", "repeatable read", "serializable")) {
            connection.setAutoCommit(false);
            execute(connection, "set transaction isolation level " + level);
            found.add(value(connection, "show transaction_isolation"));
            connection.commit();
            found.add(value(connection, "show transaction_isolation"));
            connection.commit();
            connection.setAutoCommit(true);
        }
        return found;
    }

    /** setReadOnly makes the BEGINs read only; setTransactionIsolation sets a default of the session. */
    private static Object readOnly(Connection connection) throws Exception {
        List<Object> found = new ArrayList<>();
        connection.setReadOnly(true);
        connection.setAutoCommit(false);
        found.add(value(connection, "show transaction_read_only"));
        found.add(attempt(() -> value(connection, "update item set amount = 0 where id = 7 returning id")));
        connection.rollback();
        connection.setReadOnly(false);
        found.add(value(connection, "show transaction_read_only"));
        connection.commit();
        connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
        for (int i = 0; i < 3; i++) {
            found.add(value(connection, "show transaction_isolation"));
            connection.commit();
        }
        connection.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        found.add(value(connection, "show transaction_isolation"));
        connection.commit();
        connection.setAutoCommit(true);
        return found;
    }

    private static Object repeatableRead(Connection one, Connection two) throws Exception {
        List<Object> found = new ArrayList<>();
        String sql = "select amount from item where id = 7";
        execute(one, "set transaction isolation level repeatable read");
        found.add(value(one, sql));
        execute(two, "update item set amount = 9 where id = 7");
        found.add(value(one, sql));
        one.commit();
        found.add(value(one, sql));
        one.commit();
        return found;
    }

    /** Both read, both write what the other has read: one of them must do it again. */
    private static Object conflict(Connection one, Connection two) throws Exception {
        List<Object> found = new ArrayList<>();
        two.setAutoCommit(false);
        for (Connection each : List.of(one, two)) {
            execute(each, "set transaction isolation level serializable");
            found.add(value(each, "select sum(amount) from item where id <= 2"));
        }
        execute(one, "update item set amount = amount + 0 where id = 1");
        execute(two, "update item set amount = amount + 0 where id = 2");
        one.commit();
        found.add(attempt(() -> {
            two.commit();
            return "committed";
        }));
        two.rollback();
        two.setAutoCommit(true);
        return found;
    }
}
