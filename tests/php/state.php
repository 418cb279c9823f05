<?php
// What one client leaves behind no other client ever sees. The pool has one connection, so everybody gets the same one.
require __DIR__ . '/mysql.php';

$clean = function (string $after): void {
    $link = endpoint();
    same('0', one($link, 'SELECT LAST_INSERT_ID()'), "LAST_INSERT_ID() after $after");
    same('0', one($link, 'SELECT 0 + LAST_INSERT_ID()'), "LAST_INSERT_ID() in an expression after $after");
    $link->close();
    $link = endpoint();
    same([], $link->query('SHOW WARNINGS')->fetch_all(), "warnings after $after");
    same('0', one($link, 'SELECT @@warning_count'), "warning_count after $after");
    same('-1', one($link, 'SELECT ROW_COUNT()'), "ROW_COUNT() after $after");
    $link->close();
    $link = endpoint();
    same(null, one($link, 'SELECT @stain'), "a user variable after $after");
    same('app', one($link, 'SELECT DATABASE()'), "the schema after $after");
    same('1', one($link, 'SELECT @@autocommit'), "autocommit after $after");
    same('utf8mb4', one($link, 'SELECT @@character_set_client'), "the character set after $after");
    same('utf8mb4', one($link, 'SELECT @@character_set_results'), "the results' character set after $after");
    same(one($link, 'SELECT @@global.sql_mode'), one($link, 'SELECT @@sql_mode'), "sql_mode after $after");
    same(one($link, 'SELECT @@global.time_zone'), one($link, 'SELECT @@time_zone'), "time_zone after $after");
    same('1', one($link, "SELECT IS_FREE_LOCK('stain')"), "a user lock after $after");
    same(1146, error_of(fn () => $link->query('SELECT * FROM stain')), "a temporary table after $after");
    same('REPEATABLE-READ', one($link, 'SELECT @@transaction_isolation'), "isolation after $after");
    same('0', one($link, "SELECT COUNT(*) FROM kv WHERE v = 'stain'"), "an open transaction after $after");
    same(1243, error_of(fn () => $link->query("EXECUTE stain")), "a prepared statement after $after");
    $link->close();
};

$clean('nothing');
$stains = [
    'a user variable' => ["SET @stain = 1"],
    'a user variable in a select' => ["SELECT @stain := 1"],
    'an insert id' => ["INSERT INTO counted (v) VALUES ('x')"],
    'LAST_INSERT_ID(expr)' => ["SELECT LAST_INSERT_ID(77)"],
    'a warning' => ["SELECT 1/0"],
    'an error' => ["SELECT * FROM nowhere"],
    'rows found' => ["SELECT SQL_CALC_FOUND_ROWS id FROM kv LIMIT 3"],
    'rows changed' => ["UPDATE kv SET v = 'changed' WHERE id BETWEEN 100 AND 109"],
    'a temporary table' => ["CREATE TEMPORARY TABLE stain (id INT)"],
    'a lock' => ["SELECT GET_LOCK('stain', 1)"],
    'table locks' => ["LOCK TABLES kv WRITE"],
    'an open transaction' => ["BEGIN", "UPDATE kv SET v = 'stain' WHERE id = 5"],
    'autocommit off' => ["SET autocommit = 0", "UPDATE kv SET v = 'stain' WHERE id = 5"],
    'sql_mode' => ["SET SESSION sql_mode = 'ANSI_QUOTES'"],
    'another character set' => ["SET NAMES latin1"],
    'time_zone' => ["SET time_zone = '+05:00'"],
    'isolation' => ["SET SESSION TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"],
    'the next transaction' => ["SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
    'another schema' => ["USE test"],
    'a text prepare' => ["PREPARE stain FROM 'SELECT 1'"],
    'a handler' => ["HANDLER kv OPEN AS stain"],
    'a procedure that stains' => ["CALL stain_all()"],
];
$setup = endpoint();
$setup->query('DROP TABLE IF EXISTS counted');
$setup->query('CREATE TABLE counted (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(9)) AUTO_INCREMENT = 1000');
$setup->query('DROP PROCEDURE IF EXISTS stain_all');
$setup->query("CREATE PROCEDURE stain_all() BEGIN SET @stain = 1; SELECT GET_LOCK('stain', 1) INTO @got; CREATE TEMPORARY TABLE stain (id INT); INSERT INTO counted (v) VALUES ('p'); END");
$setup->close();
foreach ($stains as $name => $statements) {
    // left by closing, left by being dropped on the floor, left by change_user
    foreach (['close', 'abandon', 'change_user'] as $way) {
        $link = endpoint();
        foreach ($statements as $sql) {
            try {
                $result = $link->query($sql);
                if ($result instanceof mysqli_result) {
                    $result->free();
                }
            } catch (mysqli_sql_exception) {
                // leaving an error behind is one of the cases
            }
        }
        if ($way === 'close') {
            $link->close();
        } elseif ($way === 'change_user') {
            same(true, $link->change_user('web', '', 'app'), 'change_user');
            $link->close();
        } else {
            unset($link);
        }
        $clean("$name, left by $way");
    }
}
// a binary prepared statement, never closed
$link = endpoint();
$statement = $link->prepare('SELECT 1');
unset($statement);
$link->close();
$clean('a binary prepare');
echo 'ok';
