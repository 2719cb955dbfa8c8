package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.execute;
import static drivers.Database.value;

import java.sql.Connection;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;

/** Settings of the session, set by statements or when the connection is made: they follow the client. */
final class Settings {
    private static final List<String> NAMES = List.of(
            "TimeZone", "DateStyle", "IntervalStyle", "application_name", "search_path", "statement_timeout",
            "client_min_messages", "extra_float_digits");

    private Settings() {}

    private static Map<String, Object> shown(Connection connection) throws Exception {
        Map<String, Object> values = new LinkedHashMap<>();
        for (String name : NAMES) {
            values.put(name, value(connection, "show " + name));
        }
        return values;
    }

    static Object session() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection one = connect();
                Connection two = connect()) {
            execute(one, "set application_name = 'one'", "set IntervalStyle = 'iso_8601'");
            execute(two, "set TimeZone = 'Asia/Tokyo'", "set application_name = 'two'");
            outcome.add(inTurn(one, two)); // only what servers report
            execute(one, "set search_path = pg_catalog, public", "set statement_timeout = '34s'");
            execute(one, "select set_config('client_min_messages', 'error', false)");
            outcome.add(inTurn(one, two));
            one.setAutoCommit(false);
            execute(one, "set local statement_timeout = 0", "set application_name = 'undone'");
            outcome.add(shown(one));
            one.rollback();
            one.setAutoCommit(true);
            outcome.add(inTurn(one, two));
            execute(one, "reset search_path", "set statement_timeout to default", "reset application_name");
            outcome.add(inTurn(one, two));
            execute(one, "reset all");
            outcome.add(inTurn(one, two));
        }
        return outcome;
    }

    /** Each runs while a transaction of the other holds a connection to the server. */
    private static Object inTurn(Connection one, Connection two) throws Exception {
        List<Object> found = new ArrayList<>();
        for (int round = 0; round < 3; round++) {
            for (List<Connection> pair : List.of(List.of(one, two), List.of(two, one))) {
                pair.get(0).setAutoCommit(false);
                value(pair.get(0), "select 1");
                found.add(shown(pair.get(1)));
                found.add(shown(pair.get(0)));
                pair.get(0).commit();
                pair.get(0).setAutoCommit(true);
            }
        }
        return found.stream().distinct().toList();
    }

    static Object startup() throws Exception {
        List<Object> outcome = new ArrayList<>();
        TimeZone ours = TimeZone.getDefault();
        TimeZone.setDefault(TimeZone.getTimeZone("Europe/Berlin"));
        try (Connection one = connect(
                        "ApplicationName", "started as this",
                        "currentSchema", "pg_catalog,public",
                        "options", "-c statement_timeout=4321 -c IntervalStyle=sql_standard --client-min-messages=log");
                Connection two = connect()) {
            outcome.add(inTurn(one, two));
            outcome.add(value(one, "select make_interval(days => 1)::text"));
            outcome.add(value(one, "select to_char('2026-07-01 10:00+00'::timestamptz, 'HH24 TZ')"));
            execute(one, "set statement_timeout = 1234", "set search_path = public", "set TimeZone = 'UTC'");
            execute(one, "set application_name = 'changed'", "set IntervalStyle = 'postgres'");
            outcome.add(inTurn(one, two));
            execute(one, "reset statement_timeout", "reset search_path", "reset TimeZone", "reset application_name");
            execute(one, "reset IntervalStyle");
            outcome.add(inTurn(one, two));
            execute(one, "set statement_timeout = 1234", "discard all");
            outcome.add(inTurn(one, two));
        } finally {
            TimeZone.setDefault(ours);
        }
        for (String refused : List.of("-c no_such_setting=1", "-c work_mem=nonsense", "-c max_connections=5")) {
            outcome.add(attempt(() -> {
                connect("options", refused).close();
                return "connected";
            }));
        }
        return outcome;
    }
}
