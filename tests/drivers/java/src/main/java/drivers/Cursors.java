package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.plain;
import static drivers.Database.query;
import static drivers.Database.value;

import java.sql.CallableStatement;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.Types;
import java.util.ArrayList;
import java.util.List;

/** Results in parts: by a portal and a fetch size, by DECLARE CURSOR, and by a function that returns a cursor. */
final class Cursors {
    private Cursors() {}

    static Object cursor() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect()) {
            connection.setAutoCommit(false);
            for (int fetchSize : new int[] {1, 3, 10, 64}) {
                outcome.add(twoAtOnce(connection, fetchSize));
            }
            outcome.add(leftEarly(connection));
            outcome.add(attempt(() -> failing(connection)));
            connection.rollback();
            outcome.add(value(connection, "select 1"));
            connection.commit();
            outcome.add(declared(connection));
            outcome.add(attempt(() -> ofFunction(connection)));
            connection.setAutoCommit(true);
            outcome.add(attempt(() -> query(connection, "fetch 1 from numbers")));
        }
        return outcome;
    }

    /** Two portals are open in turn, and another statement runs in between. */
    private static Object twoAtOnce(Connection connection, int fetchSize) throws Exception {
        String sql = "select n, repeat('x', n % 50) from generate_series(1, ?) as n";
        long sum = 0;
        int lengths = 0;
        try (PreparedStatement one = connection.prepareStatement(sql);
                PreparedStatement two = connection.prepareStatement("select n from generate_series(1, ?) as n")) {
            one.setFetchSize(fetchSize);
            two.setFetchSize(2 * fetchSize);
            one.setInt(1, 200);
            two.setInt(1, 150);
            try (ResultSet left = one.executeQuery();
                    ResultSet right = two.executeQuery()) {
                while (left.next()) {
                    sum += left.getInt(1) * (right.next() ? right.getInt(1) : 1);
                    lengths += left.getString(2).length();
                    if (left.getInt(1) % 40 == 0) {
                        sum += ((Number) value(connection, "select 1000000")).longValue();
                    }
                }
            }
        }
        connection.commit();
        return List.of(sum, lengths);
    }

    /** The portal is closed before its end; a limit of rows closes another one. */
    private static Object leftEarly(Connection connection) throws Exception {
        List<Object> found = new ArrayList<>();
        try (PreparedStatement statement = connection.prepareStatement("select generate_series(1, ?)")) {
            statement.setFetchSize(5);
            statement.setInt(1, 1000);
            try (ResultSet result = statement.executeQuery()) {
                result.next();
                found.add(plain(result.getObject(1)));
            }
            statement.setMaxRows(7);
            found.add(query(statement, 1000));
        }
        connection.commit();
        return found;
    }

    /** The error comes with the third part. */
    private static Object failing(Connection connection) throws Exception {
        String sql = "select 10 / (? - n) from generate_series(1, 20) n";
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            statement.setFetchSize(3);
            return query(statement, 8);
        }
    }

    private static Object declared(Connection connection) throws Exception {
        List<Object> found = new ArrayList<>();
        execute(connection, "declare numbers scroll cursor for select id, name from item order by id");
        for (String where : new String[] {"forward 3", "backward 2", "last", "absolute 5", "all"}) {
            found.add(query(connection, "fetch " + where + " from numbers"));
        }
        execute(connection, "close numbers");
        connection.commit();
        return found;
    }

    private static Object ofFunction(Connection connection) throws Exception {
        execute(connection, "create function items() returns refcursor language plpgsql as $$ "
                + "declare found refcursor; "
                + "begin open found for select id from item order by id; return found; end $$");
        try (CallableStatement call = connection.prepareCall("{? = call items()}")) {
            call.registerOutParameter(1, Types.REF_CURSOR);
            call.execute();
            try (ResultSet result = (ResultSet) call.getObject(1)) {
                return Database.rows(result);
            }
        } finally {
            connection.rollback();
        }
    }
}
