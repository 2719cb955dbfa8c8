package drivers;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TimeZone;

/**
 * Runs the scenarios named by the arguments, or all, and prints an outcome a line.
 *
 * <p>The system property {@code pgjdbc} holds more connection properties, such as {@code preferQueryMode=simple}.
 * A scenario that fails has no outcome: its trace is on standard error, and the exit code is 1.
 */
final class Main {
    interface Scenario {
        Object run() throws Exception;
    }

    /** Each scenario finds the rows as the schema made them, whatever the ones before have done. */
    private static final String[] AS_MADE = {
        "drop table if exists changing, not_yet, saved",
        "truncate copied",
        "delete from item where id > 10",
        "update item set amount = 10 * id, price = id + 0.25, flag = id % 2 = 1",
    };

    private static final Map<String, Scenario> SCENARIOS = new LinkedHashMap<>();

    static {
        SCENARIOS.put("types_text", Values::text);
        SCENARIOS.put("types_binary", Values::binary);
        SCENARIOS.put("large_values", Values::largeValues);
        SCENARIOS.put("prepared", Preparing::prepared);
        SCENARIOS.put("prepared_many_clients", Preparing::manyClients);
        SCENARIOS.put("prepared_reuse_after_error", Preparing::reuseAfterError);
        SCENARIOS.put("unprepared_parameters", Preparing::unprepared);
        SCENARIOS.put("many_statements", Preparing::manyStatements);
        SCENARIOS.put("schema_change", Preparing::schemaChange);
        SCENARIOS.put("batch", Batches::batch);
        SCENARIOS.put("batch_rewritten", Batches::rewritten);
        SCENARIOS.put("cursor", Cursors::cursor);
        SCENARIOS.put("copy_in", Copying::in);
        SCENARIOS.put("copy_out", Copying::out);
        SCENARIOS.put("copy_in_error", Copying::inError);
        SCENARIOS.put("cancel", Interrupting::cancel);
        SCENARIOS.put("statement_timeout", Interrupting::statementTimeout);
        SCENARIOS.put("notices", Statements::notices);
        SCENARIOS.put("errors", Statements::errors);
        SCENARIOS.put("errors_in_transaction", Transactions::errors);
        SCENARIOS.put("autosave", Transactions::autosave);
        SCENARIOS.put("transactions", Transactions::transactions);
        SCENARIOS.put("session_settings", Settings::session);
        SCENARIOS.put("startup_settings", Settings::startup);
        SCENARIOS.put("listen_notify", Sessions::listenNotify);
        SCENARIOS.put("advisory_locks", Sessions::advisoryLocks);
        SCENARIOS.put("temp_tables", Sessions::tempTables);
        SCENARIOS.put("empty_and_multi", Statements::emptyAndMulti);
        SCENARIOS.put("server_info", Statements::serverInfo);
        SCENARIOS.put("metadata", Statements::metadata);
        SCENARIOS.put("connection_lost", Interrupting::connectionLost);
    }

    private Main() {}

    public static void main(String[] names) {
        TimeZone.setDefault(TimeZone.getTimeZone("UTC")); // pgjdbc sends it to the server, and shows times in it
        PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
        Gson json = new GsonBuilder().serializeNulls().disableHtmlEscaping().create();
        int failed = 0;
        for (String name : names.length == 0 ? SCENARIOS.keySet() : List.of(names)) {
            Map<String, Object> line = new LinkedHashMap<>();
            line.put("scenario", name);
            try {
                try (Connection connection = Database.connect()) {
                    Database.execute(connection, AS_MADE);
                }
                line.put("outcome", SCENARIOS.get(name).run());
                out.println(json.toJson(line));
            } catch (Exception error) {
                System.err.print(name + ": ");
                error.printStackTrace();
                failed++;
            }
        }
        System.exit(failed == 0 ? 0 : 1);
    }
}
