// The hard cases with MariaDB Connector/J (DRIVER=text, prepared or batched): prints what it saw, one line each, so that two runs can
// be compared.
import java.nio.charset.StandardCharsets;
import java.sql.*;
import java.util.Arrays;
import java.util.Properties;

public class Driver {
    static Connection connect(String more) throws SQLException {
        String driver = System.getenv("DRIVER");
        String options = "&useServerPrepStmts=" + driver.equals("prepared") + "&rewriteBatchedStatements=" + driver.equals("batched");
        Properties login = new Properties();
        login.setProperty("user", System.getenv("DBUSER"));
        login.setProperty("password", System.getenv("DBPASSWORD"));
        return DriverManager.getConnection(
            "jdbc:mariadb://127.0.0.1:" + System.getenv("PORT") + "/app?allowPublicKeyRetrieval=true&allowMultiQueries=true" + options + more, login);
    }

    static void show(String label, Object... values) {
        System.out.println(label + " " + Arrays.deepToString(values));
    }

    static String told(ResultSet rows) throws SQLException {
        StringBuilder all = new StringBuilder();
        ResultSetMetaData columns = rows.getMetaData();
        for (int at = 1; at <= columns.getColumnCount(); at++) {
            all.append(columns.getColumnLabel(at)).append(':').append(columns.getColumnTypeName(at)).append(' ');
        }
        while (rows.next()) {
            for (int at = 1; at <= columns.getColumnCount(); at++) all.append(rows.getString(at)).append(',');
            all.append(' ');
        }
        rows.close();
        return all.toString();
    }

    static String ask(Connection link, String sql, Object... values) throws SQLException {
        try (PreparedStatement statement = link.prepareStatement(sql)) {
            for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
            boolean rows = statement.execute();
            StringBuilder all = new StringBuilder();
            while (rows || statement.getUpdateCount() != -1) {
                all.append(rows ? told(statement.getResultSet()) : "changed " + statement.getUpdateCount()).append("; ");
                rows = statement.getMoreResults();
            }
            return all.toString();
        }
    }

    static void attempt(Connection link, String label, String sql, Object... values) {
        try {
            show(label, ask(link, sql, values));
        } catch (SQLException error) {
            show(label, error.getErrorCode(), error.getSQLState());
        }
    }

    static void writes(Connection link) throws SQLException {
        ask(link, "DROP TABLE IF EXISTS driven");
        ask(link, "CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE, b LONGBLOB) AUTO_INCREMENT = 100");
        for (String value : new String[] {"a", "quote ' \\ \" \u2603", null}) {
            try (PreparedStatement insert = link.prepareStatement("INSERT INTO driven (v) VALUES (?)", Statement.RETURN_GENERATED_KEYS)) {
                insert.setString(1, value);
                show("insert", insert.executeUpdate(), told(insert.getGeneratedKeys()), ask(link, "SELECT LAST_INSERT_ID()"));
            }
        }
        try (PreparedStatement batch = link.prepareStatement("INSERT INTO driven (v, b) VALUES (?, ?)")) {
            for (int turn = 0; turn < 5; turn++) {
                batch.setString(1, "batch " + turn);
                batch.setBytes(2, ("b" + turn).getBytes(StandardCharsets.UTF_8));
                batch.addBatch();
            }
            show("batch", batch.executeBatch());
        }
        show("after the batch", ask(link, "SELECT id, v, b FROM driven ORDER BY id"));
        link.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
        link.setAutoCommit(false);
        ask(link, "DELETE FROM driven WHERE id = ?", 100);
        Savepoint savepoint = link.setSavepoint();
        ask(link, "DELETE FROM driven");
        link.rollback(savepoint);
        show("to the savepoint", ask(link, "SELECT COUNT(*) FROM driven"));
        link.rollback();
        link.setAutoCommit(true);
        show("rolled back", ask(link, "SELECT COUNT(*) FROM driven"), link.getTransactionIsolation());
    }

    static void reads(Connection link) throws SQLException {
        try (PreparedStatement find = link.prepareStatement("SELECT id, v FROM driven WHERE id >= ? ORDER BY id LIMIT 3")) {
            for (Object from : new Object[] {0, "101", null, 102L, 100.5}) {
                find.setObject(1, from);
                show("rows", told(find.executeQuery()));
            }
        }
        try (Statement streamed = link.createStatement(ResultSet.TYPE_FORWARD_ONLY, ResultSet.CONCUR_READ_ONLY)) {
            streamed.setFetchSize(10);
            show("streamed", told(streamed.executeQuery("SELECT id, v FROM kv ORDER BY id")).length());
        }
        attempt(link, "duplicate", "INSERT INTO driven (id) VALUES (?)", 100);
        attempt(link, "no table", "SELECT * FROM nowhere WHERE id = ?", 1);
        attempt(link, "syntax", "SELEC 1");
        show("unchanged", ask(link, "UPDATE driven SET v = 'a' WHERE id = ?", 100));
        try (Statement statement = link.createStatement()) {
            statement.executeUpdate("INSERT IGNORE INTO driven (id) VALUES (100), (101)");
            for (SQLWarning warning = statement.getWarnings(); warning != null; warning = warning.getNextWarning()) {
                show("warning", warning.getErrorCode(), warning.getMessage());
            }
        }
    }

    static void state(Connection link) throws SQLException {
        ask(link, "SET @x = 5");
        show("user variable", ask(link, "SELECT @x + 1 AS x"));
        ask(link, "CREATE TEMPORARY TABLE passing (n INT)");
        ask(link, "INSERT INTO passing VALUES (?), (?)", 1, 2);
        show("temporary table", ask(link, "SELECT SUM(n) FROM passing"));
        ask(link, "DROP TEMPORARY TABLE passing");
        byte[] large = new byte[3_000_000];
        Arrays.fill(large, (byte) 'l');
        ask(link, "INSERT INTO driven (v, b) VALUES (?, ?)", "large", large);
        show("large", ask(link, "SELECT LENGTH(b), SHA2(b, 256) FROM driven WHERE v = ?", "large"));
        ask(link, "DROP PROCEDURE IF EXISTS gives");
        ask(link, "CREATE PROCEDURE gives(IN x INT, OUT y INT) BEGIN SET y = x + 1; SELECT x AS first; SELECT y AS second, 3 AS third; END");
        try (CallableStatement call = link.prepareCall("{call gives(?, ?)}")) {
            call.setInt(1, 4);
            call.registerOutParameter(2, Types.INTEGER);
            call.execute();
            show("out parameter", call.getInt(2));
        }
        show("several statements", ask(link, "SELECT 1 AS a; SELECT 2 AS b"));
        ask(link, "SET SESSION sql_mode = 'ANSI_QUOTES'");
        show("ansi quotes", ask(link, "SELECT COUNT(\"id\") FROM \"driven\""));
        show("valid", link.isValid(5));
        link.setCatalog("test");
        show("schema", link.getCatalog(), ask(link, "SELECT DATABASE()"));
        link.setReadOnly(true);
        show("read only", ask(link, "SELECT COUNT(*) FROM app.kv"));
        link.setReadOnly(false);
    }

    public static void main(String[] none) throws SQLException {
        try (Connection link = connect("")) {
            show("types", ask(link, "SELECT 1, -2, 1.50, NULL, HEX(x'00FF'), 'h\u2603', DATE '2024-02-29', CAST(1.25 AS DOUBLE)"));
            writes(link);
            reads(link);
            state(link);
        }
        try (Connection link = connect("&useAffectedRows=true&sessionVariables=group_concat_max_len=77")) {
            show("a new session", ask(link, "SELECT @x, @@sql_mode, @@global.sql_mode, @@group_concat_max_len"));
            show("unchanged", ask(link, "UPDATE driven SET v = 'a' WHERE id = ?", 100));
            ask(link, "DROP TABLE driven");
            ask(link, "DROP PROCEDURE gives");
        }
    }
}
