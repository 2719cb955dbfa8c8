package drivers;

import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

/** Connections to where the environment says, and what comes back from them as lists and maps for the outcomes. */
final class Database {
    interface Attempt {
        Object make() throws Exception;
    }

    private Database() {}

    /** A new connection; {@code options} are names and values of connection properties, in turn. */
    static Connection connect(String... options) throws SQLException {
        Map<String, String> env = System.getenv();
        Properties properties = new Properties();
        properties.setProperty("user", env.get("PGUSER"));
        properties.setProperty("password", env.get("PGPASSWORD"));
        properties.setProperty("sslmode", env.getOrDefault("PGSSLMODE", "disable"));
        for (String pair : System.getProperty("pgjdbc", "").split(",")) {
            if (!pair.isEmpty()) {
                properties.setProperty(pair.split("=")[0], pair.split("=")[1]);
            }
        }
        for (int i = 0; i < options.length; i += 2) {
            properties.setProperty(options[i], options[i + 1]);
        }
        String place = env.get("PGHOST") + ":" + env.get("PGPORT") + "/" + env.get("PGDATABASE");
        return DriverManager.getConnection("jdbc:postgresql://" + place, properties);
    }

    /** All rows of a query with parameters, by a prepared statement of its own. */
    static List<List<Object>> query(Connection connection, String sql, Object... parameters) throws SQLException {
        try (PreparedStatement statement = connection.prepareStatement(sql)) {
            return query(statement, parameters);
        }
    }

    static List<List<Object>> query(PreparedStatement statement, Object... parameters) throws SQLException {
        bind(statement, parameters);
        try (ResultSet result = statement.executeQuery()) {
            return rows(result);
        }
    }

    static void bind(PreparedStatement statement, Object... parameters) throws SQLException {
        for (int i = 0; i < parameters.length; i++) {
            statement.setObject(i + 1, parameters[i]);
        }
    }

    /** The first column of the first row, by a statement without parameters. */
    static Object value(Connection connection, String sql) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet result = statement.executeQuery(sql)) {
            result.next();
            return plain(result.getObject(1));
        }
    }

    /** Run statements for what they do; rows that come back are dropped. */
    static void execute(Connection connection, String... statements) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            for (String sql : statements) {
                statement.execute(sql);
            }
        }
    }

    static List<List<Object>> rows(ResultSet result) throws SQLException {
        List<List<Object>> rows = new ArrayList<>();
        while (result.next()) {
            List<Object> row = new ArrayList<>();
            for (int i = 1; i <= result.getMetaData().getColumnCount(); i++) {
                row.add(plain(result.getObject(i)));
            }
            rows.add(row);
        }
        return rows;
    }

    /** A value that JSON has, too. */
    static Object plain(Object value) throws SQLException {
        if (value == null || value instanceof Boolean || value instanceof Integer || value instanceof Long) {
            return value;
        }
        if (value instanceof byte[] bytes) {
            return "\\x" + HexFormat.of().formatHex(bytes);
        }
        if (value instanceof Array array) {
            return plain(array.getArray());
        }
        if (value instanceof Object[] elements) {
            List<Object> list = new ArrayList<>();
            for (Object element : elements) {
                list.add(plain(element));
            }
            return list;
        }
        return value.toString();
    }

    /** What the attempt returns, or the error that it ended with. */
    static Object attempt(Attempt attempt) throws Exception {
        try {
            return attempt.make();
        } catch (SQLException error) {
            return describe(error);
        }
    }

    static Map<String, Object> describe(SQLException error) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("error", error.getClass().getSimpleName());
        fields.put("sqlstate", error.getSQLState());
        ServerErrorMessage server = error instanceof PSQLException ours ? ours.getServerErrorMessage() : null;
        if (server == null) {
            fields.put("message", error.getMessage());
            return fields;
        }
        fields.put("severity", server.getSeverity());
        fields.put("message", server.getMessage());
        fields.put("detail", server.getDetail());
        fields.put("hint", server.getHint());
        fields.put("position", server.getPosition());
        fields.put("where", server.getWhere());
        fields.put("table", server.getTable());
        fields.put("constraint", server.getConstraint());
        fields.values().removeIf(value -> value == null);
        return fields;
    }
}
