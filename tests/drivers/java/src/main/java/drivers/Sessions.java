package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.query;
import static drivers.Database.value;

import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.List;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;

/** State that the server keeps for a session. */
final class Sessions {
    private static final int PATIENCE_MS = 5000;

    private Sessions() {}

    static Object listenNotify() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection listener = connect();
                Connection sender = connect()) {
            execute(listener, "listen events", "listen \"Other Events\"");
            execute(sender, "notify events, 'first'", "notify \"Other Events\"", "notify unheard, 'x'");
            outcome.add(received(listener, 2));
            query(sender, "select pg_notify('events', ?)", "zweites ü");
            outcome.add(received(listener, 1));
            sender.setAutoCommit(false);
            execute(sender, "notify events, 'rolled back'");
            sender.rollback();
            execute(sender, "notify events, 'committed'", "notify events, 'committed'");
            sender.commit();
            sender.setAutoCommit(true);
            outcome.add(received(listener, 1));
            execute(listener, "notify events, 'to itself'");
            outcome.add(received(listener, 1));
            execute(listener, "unlisten events");
            execute(sender, "notify events, 'unheard'", "notify \"Other Events\", 'last'");
            outcome.add(received(listener, 1));
            execute(listener, "unlisten *");
        }
        return outcome;
    }

    /** At least so many notifications, the connection being idle while it waits. */
    private static Object received(Connection connection, int count) throws SQLException {
        List<Object> found = new ArrayList<>();
        while (found.size() < count) {
            PGNotification[] some = connection.unwrap(PGConnection.class).getNotifications(PATIENCE_MS);
            if (some == null || some.length == 0) {
                found.add("nothing came");
                break;
            }
            for (PGNotification each : some) {
                found.add(List.of(each.getName(), each.getParameter()));
            }
        }
        return found;
    }

    static Object advisoryLocks() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection one = connect();
                Connection two = connect()) {
            query(one, "select pg_advisory_lock(?)", 42);
            for (int i = 0; i < 3; i++) {
                outcome.add(value(two, "select pg_try_advisory_lock(42)"));
                outcome.add(value(one, "select count(*) from item"));
            }
            outcome.add(value(one, "select pg_advisory_unlock(42)"));
            outcome.add(value(two, "select pg_try_advisory_lock(42)"));
            outcome.add(value(one, "select pg_try_advisory_lock(42)"));
            outcome.add(value(two, "select pg_advisory_unlock(42)"));
            outcome.add(value(two, "select pg_advisory_unlock(42)"));
            one.setAutoCommit(false);
            query(one, "select pg_advisory_xact_lock(?, ?)", 4, 2);
            outcome.add(value(two, "select pg_try_advisory_lock(4, 2)"));
            one.commit();
            one.setAutoCommit(true);
            outcome.add(value(two, "select pg_try_advisory_lock(4, 2)"));
            execute(two, "select pg_advisory_unlock_all()");
            outcome.add(value(one, "select pg_try_advisory_lock(4, 2)"));
        }
        try (Connection three = connect()) {
            outcome.add(lockedAgain(three)); // its holder has gone
        }
        return outcome;
    }

    /** The server ends a session a little after its client has gone: this waits for it, and does not only try. */
    private static Object lockedAgain(Connection connection) throws SQLException {
        execute(connection, "set statement_timeout = '5s'", "select pg_advisory_lock(4, 2)");
        return value(connection, "select pg_advisory_unlock(4, 2)");
    }

    static Object tempTables() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection one = connect();
                Connection two = connect();
                PreparedStatement insert = one.prepareStatement("insert into scratch values (?) returning n")) {
            execute(one, "create temporary table scratch (n integer)");
            for (int i = 0; i < 5; i++) {
                outcome.add(attempt(() -> query(insert, 1)));
                outcome.add(attempt(() -> value(two, "select count(*) from scratch")));
            }
            two.setAutoCommit(false);
            value(two, "select 1");
            outcome.add(attempt(() -> value(one, "select sum(n) from scratch")));
            two.commit();
            execute(one, "drop table scratch");
            outcome.add(attempt(() -> query(insert, 1)));
            execute(two, "create temporary table scratch on commit drop as select 7 as n");
            outcome.add(attempt(() -> value(two, "select n from scratch")));
            two.commit();
            outcome.add(attempt(() -> value(two, "select n from scratch")));
            two.rollback();
            execute(one, "select 8 as n into temporary scratch");
            outcome.add(value(one, "select n from scratch"));
            execute(one, "discard temp");
            outcome.add(attempt(() -> value(one, "select n from scratch")));
        }
        return outcome;
    }
}
