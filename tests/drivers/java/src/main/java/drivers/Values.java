package drivers;

import static drivers.Database.connect;
import static drivers.Database.plain;
import static drivers.Database.query;
import static drivers.Database.value;

import java.math.BigDecimal;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.sql.Connection;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.time.LocalDate;
import java.time.LocalDateTime;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.UUID;

/** Values of many types, and large ones: parameters in, and out again. */
final class Values {
    private static final int EXECUTIONS = 7; // more than pgjdbc waits for before it names a statement and goes binary
    private static final int MEGABYTE = 1 << 20;

    private Values() {}

    static Object text() throws Exception {
        return types("binaryTransfer", "false");
    }

    static Object binary() throws Exception {
        return types("prepareThreshold", "-1"); // binary from the first execution on
    }

    private static Object types(String... options) throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect(options)) {
            for (Map.Entry<String, List<Object>> entry : parameters(connection).entrySet()) {
                String sql = "select ?::" + entry.getKey() + ", pg_typeof(?::" + entry.getKey() + ")::text";
                try (PreparedStatement statement = connection.prepareStatement(sql)) {
                    List<Object> shown = new ArrayList<>();
                    for (Object parameter : entry.getValue()) {
                        for (int i = 0; i < EXECUTIONS; i++) {
                            shown.add(roundTrip(statement, parameter));
                        }
                    }
                    outcome.put(entry.getKey(), shown);
                }
            }
            outcome.put("item", query(connection, "select * from item where id <= ? order by id", 3));
            outcome.put("special", query(connection, "select 'NaN'::float8, '-infinity'::float4, 'NaN'::numeric, "
                    + "'infinity'::date, '-infinity'::timestamptz, '1 year 2 days 3.5 sec'::interval, "
                    + "'[1,5)'::int4range, '(1,2)'::point, '10.0.0.1/8'::inet, B'1011', '\\x'::bytea, ''::text"));
        }
        return outcome;
    }

    private static Object roundTrip(PreparedStatement statement, Object parameter) throws Exception {
        statement.setObject(1, parameter);
        statement.setObject(2, parameter);
        try (ResultSet result = statement.executeQuery()) {
            result.next();
            Object found = result.getObject(1);
            String javaType = found == null ? "null" : found.getClass().getSimpleName();
            return Arrays.asList(javaType, plain(found), result.getString(2), result.getString(1));
        }
    }

    /** By type, in the order of the outcome. */
    private static Map<String, List<Object>> parameters(Connection connection) throws Exception {
        Map<String, List<Object>> parameters = new LinkedHashMap<>();
        parameters.put("int2", List.of(Short.MIN_VALUE, Short.MAX_VALUE));
        parameters.put("int4", List.of(Integer.MIN_VALUE, 0, Integer.MAX_VALUE));
        parameters.put("int8", List.of(Long.MIN_VALUE, Long.MAX_VALUE));
        parameters.put("float4", List.of(1.5f, -0.1f, Float.MIN_VALUE));
        parameters.put("float8", List.of(0.1, -1e300, Math.PI, Double.POSITIVE_INFINITY));
        parameters.put("numeric", List.of(new BigDecimal("123456789012345678901234567890.01"), new BigDecimal("0")));
        parameters.put("text", List.of("", "it's \"quoted\" \\ and\nlong", "grüße, 世界 \uD83D\uDC18"));
        parameters.put("bytea", List.of(new byte[] {0, 1, (byte) 0xff, '\\', '\''}, new byte[0]));
        parameters.put("bool", List.of(true, false));
        parameters.put("date", List.of(LocalDate.of(2026, 2, 28), LocalDate.of(1, 1, 1)));
        parameters.put("time", List.of(LocalTime.of(23, 59, 59, 123456000)));
        parameters.put("timestamp", List.of(LocalDateTime.of(1999, 12, 31, 23, 59, 59, 999999000)));
        parameters.put("timestamptz", List.of(OffsetDateTime.parse("2026-07-01T12:00:00.000001+02:00")));
        parameters.put("uuid", List.of(UUID.fromString("00112233-4455-6677-8899-aabbccddeeff")));
        parameters.put("json", List.of("{\"a\": [1, null]}"));
        parameters.put("jsonb", List.of("{\"b\": 1, \"a\": \"ü\"}"));
        parameters.put("int4[]", List.of(array(connection, "int4", 1, null, -3), array(connection, "int4")));
        parameters.put("text[]", List.of(array(connection, "text", "a,b", "\"q\"", null, "NULL", "\\")));
        parameters.put("float8[]", List.of(array(connection, "float8", 0.5, -2.25)));
        parameters.put("oid", List.of(4294967295L));
        for (String type : List.of("int4", "text", "bytea", "timestamptz", "int4[]")) {
            List<Object> more = new ArrayList<>(parameters.get(type));
            more.addAll(Collections.singletonList(null));
            parameters.put(type, more);
        }
        return parameters;
    }

    private static Object array(Connection connection, String type, Object... elements) throws Exception {
        return connection.createArrayOf(type, elements);
    }

    static Object largeValues() throws Exception {
        Map<String, Object> outcome = new LinkedHashMap<>();
        try (Connection connection = connect()) {
            for (int size : List.of(MEGABYTE, 5 * MEGABYTE)) {
                String text = "0123456789abcdé\n".repeat(size / 16);
                byte[] bytes = new byte[size];
                for (int i = 0; i < size; i++) {
                    bytes[i] = (byte) (i * 31 + i / 257);
                }
                String sql = "select length(?), md5(?), ?::text, md5(?::bytea), ?::bytea";
                List<Object> row = query(connection, sql, text, text, text, bytes, bytes).get(0);
                row.set(2, digest(((String) row.get(2)).getBytes(StandardCharsets.UTF_8)));
                row.set(4, digest(((String) row.get(4)).getBytes(StandardCharsets.US_ASCII)));
                outcome.put("parameters of " + size, row);
            }
            outcome.put("made by the server", value(connection, "select repeat('x', 3000000)").toString().length());
            outcome.put("in the statement", value(connection, "select length('" + "y".repeat(MEGABYTE) + "')"));
            String many = "select repeat(chr(65 + n % 26), 1000) from generate_series(1, ?) n";
            outcome.put("many rows", query(connection, many, 2000).hashCode());
            outcome.put("afterwards", value(connection, "select 1"));
        }
        return outcome;
    }

    private static String digest(byte[] bytes) throws Exception {
        return HexFormat.of().formatHex(MessageDigest.getInstance("MD5").digest(bytes));
    }
}
