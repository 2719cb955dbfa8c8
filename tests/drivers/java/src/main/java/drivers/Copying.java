package drivers;

import static drivers.Database.attempt;
import static drivers.Database.connect;
import static drivers.Database.query;
import static drivers.Database.value;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.Reader;
import java.io.StringReader;
import java.io.StringWriter;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyIn;
import org.postgresql.copy.CopyManager;

/** COPY, both ways. CopyOut.cancelCopy is left out: it returns before the server has answered, now here, now there. */
final class Copying {
    private static final String ROWS = "1\tone\t\\\\x00ff\n2\tzwölf, 世\t\\N\n3\t\\N\t\\\\x\n";
    private static final String SUMMARY = "select count(*), sum(id), count(name), sum(length(name)) from copied";

    private Copying() {}

    private static CopyManager copies(Connection connection) throws SQLException {
        return connection.unwrap(PGConnection.class).getCopyAPI();
    }

    static Object in() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            outcome.put("text", copies(connection).copyIn("copy copied from stdin", new StringReader(ROWS)));
            outcome.put("rows", query(connection, "select * from copied order by id"));
            String csv = "id,name\n4,\"a \"\"b\"\"\"\n5,\n";
            outcome.put("csv", copies(connection).copyIn("copy copied (id, name) from stdin (format csv, header)",
                    new StringReader(csv)));
            StringBuilder many = new StringBuilder();
            for (int i = 0; i < 50_000; i++) {
                many.append(i).append("\trow number ").append(i).append("\t\\N\n");
            }
            outcome.put("many", copies(connection).copyIn("copy copied from stdin", new StringReader(many.toString())));
            outcome.put("summary", query(connection, SUMMARY));
            connection.setAutoCommit(false);
            CopyIn pieces = copies(connection).copyIn("copy copied from stdin");
            for (byte each : ROWS.getBytes(StandardCharsets.UTF_8)) {
                pieces.writeToCopy(new byte[] {each}, 0, 1);
                pieces.flushCopy();
            }
            outcome.put("byte by byte", pieces.endCopy());
            connection.rollback();
            outcome.put("nothing", copies(connection).copyIn("copy copied from stdin", new StringReader("")));
            connection.commit();
            outcome.put("afterwards", query(connection, SUMMARY));
            connection.commit();
        }
        return outcome;
    }

    static Object out() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            StringWriter text = new StringWriter();
            outcome.put("count", copies(connection).copyOut("copy (select * from item order by id) to stdout", text));
            outcome.put("text", text.toString());
            ByteArrayOutputStream binary = new ByteArrayOutputStream();
            copies(connection).copyOut("copy (select n, repeat('é', 100) from generate_series(1, 20000) n) to stdout"
                    + " (format binary)", binary);
            outcome.put("binary length", binary.size());
            outcome.put("in again", copies(connection).copyIn("copy copied (id, name) from stdin (format binary)",
                    new ByteArrayInputStream(binary.toByteArray())));
            outcome.put("summary", query(connection, SUMMARY));
            outcome.put("error in the middle", attempt(() -> copies(connection)
                    .copyOut("copy (select 1 / (5 - n) from generate_series(1, 10) n) to stdout", new StringWriter())));
            outcome.put("afterwards", value(connection, "select 1"));
        }
        return outcome;
    }

    static Object inError() throws Exception {
        List<Object> outcome = new ArrayList<>();
        try (Connection connection = connect()) {
            outcome.add(attempt(() -> copyIn(connection, "copied", "1\ta\n")));
            outcome.add(attempt(() -> copyIn(connection, "copied", "no number\ta\tb\n")));
            outcome.add(attempt(() -> copyIn(connection, "copied", "wrong\n" + "1\tname\t\\N\n".repeat(100_000))));
            outcome.add(value(connection, "select count(*) from copied"));
            CopyIn aborted = copies(connection).copyIn("copy copied from stdin");
            byte[] rows = ROWS.getBytes(StandardCharsets.UTF_8);
            aborted.writeToCopy(rows, 0, rows.length);
            outcome.add(attempt(() -> {
                aborted.cancelCopy();
                return "cancelled";
            }));
            outcome.add(attempt(() -> brokenSource(connection)));
            outcome.add(attempt(() -> copyIn(connection, "no_such_table", "")));
            outcome.add(attempt(() -> copies(connection).copyIn("select 1", new StringReader(""))));
            connection.setAutoCommit(false);
            outcome.add(attempt(() -> copyIn(connection, "copied", "x\ty\tz\n")));
            outcome.add(attempt(() -> value(connection, "select 1")));
            connection.rollback();
            outcome.add(query(connection, SUMMARY));
            connection.commit();
        }
        return outcome;
    }

    private static long copyIn(Connection connection, String table, String rows) throws SQLException, IOException {
        return copies(connection).copyIn("copy " + table + " from stdin", new StringReader(rows));
    }

    /** The client's own source of rows breaks in the middle. */
    private static Object brokenSource(Connection connection) throws SQLException {
        Reader broken = new Reader() {
            private boolean begun;

            @Override
            public int read(char[] buffer, int offset, int length) throws IOException {
                if (begun) {
                    throw new IOException("the source is broken");
                }
                begun = true;
                "1\t".getChars(0, 2, buffer, offset);
                return 2;
            }

            @Override
            public void close() {}
        };
        try {
            return copies(connection).copyIn("copy copied from stdin", broken);
        } catch (IOException error) {
            return error.getMessage();
        }
    }
}
