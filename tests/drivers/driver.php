<?php
// The hard cases with PDO (DRIVER=emulated, native, unbuffered or persistent) and mysqli (DRIVER=mysqli): prints what it saw, one line
// each, so that two runs can be compared.
$driver = getenv('DRIVER');
$socket = getenv('SOCKET') ?: '';
function tell(string $label, mixed ...$values): void
{
    echo $label, ' ', json_encode($values, JSON_PARTIAL_OUTPUT_ON_ERROR | JSON_UNESCAPED_UNICODE), "\n";
}
function code(callable $action): mixed
{
    try {
        $action();
        return 'no error';
    } catch (PDOException $error) {
        return $error->errorInfo;
    } catch (mysqli_sql_exception $error) {
        return [$error->getSqlState(), $error->getCode()];
    }
}
if ($driver === 'mysqli') {
    mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
    $connect = fn () => $socket !== ''
        ? new mysqli('localhost', getenv('DBUSER'), getenv('DBPASSWORD'), 'app', 0, $socket)
        : new mysqli('127.0.0.1', getenv('DBUSER'), getenv('DBPASSWORD'), 'app', (int) getenv('PORT'));
    $link = $connect();
    $link->set_charset('utf8mb4');
    tell('types', $link->query("SELECT 1, -2, 1.50, NULL, 'hé☃', DATE '2024-02-29'")->fetch_row());
    $link->query('DROP TABLE IF EXISTS driven');
    $link->query('CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE, b LONGBLOB) AUTO_INCREMENT = 100');
    $insert = $link->prepare('INSERT INTO driven (v, b) VALUES (?, ?)');
    foreach (['a', "quote ' \\ \" ☃", null] as $value) {
        $blob = null;
        $insert->bind_param('sb', $value, $blob);
        $insert->send_long_data(1, 'piece-');
        $insert->send_long_data(1, (string) $value);
        $insert->execute();
        tell('insert', $insert->affected_rows, $insert->insert_id, $link->insert_id);
    }
    $select = $link->prepare('SELECT id, v, b FROM driven WHERE id >= ? ORDER BY id');
    foreach ([0, 101, 500] as $from) {
        $select->bind_param('i', $from);
        $select->execute();
        tell('rows', $select->get_result()->fetch_all());
    }
    $select->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
    $from = 0;
    $select->bind_param('i', $from);
    $select->execute();
    $select->bind_result($id, $v, $b);
    while ($select->fetch()) {
        tell('cursor', $id, $v, $b);
    }
    $select->close();
    $link->multi_query("SELECT 1; UPDATE driven SET v = 'b' WHERE id = 100; SELECT v FROM driven WHERE id = 100; SELEC");
    // more_results() is asked after the result is read: before it, the endpoint cannot know for a driver without CLIENT_DEPRECATE_EOF
    do {
        $result = $link->store_result();
        tell('multi', $result ? $result->fetch_all() : $link->affected_rows);
        $more = $link->more_results();
    } while ($more && code(fn () => $link->next_result()) === 'no error');
    tell('after multi', $link->errno);
    $link = $connect();
    $link->begin_transaction();
    $link->query('DELETE FROM driven');
    $link->rollback();
    tell('rolled back', $link->query('SELECT COUNT(*) FROM driven')->fetch_row());
    tell('errors', code(fn () => $link->query('SELECT * FROM nowhere')), code(fn () => $link->query("INSERT INTO driven (id) VALUES (100)")));
    $link->query("INSERT IGNORE INTO driven (id, v) VALUES (100, 'x'), (200, 'y')");
    tell('info', $link->info, $link->warning_count, $link->get_warnings()->message);
    tell('change user', $link->change_user(getenv('DBUSER'), getenv('DBPASSWORD'), 'test'), $link->query('SELECT DATABASE()')->fetch_row());
    tell('stat', strlen($link->stat()) > 10, $link->ping(), $link->select_db('app'));
    $link->query('DROP TABLE driven');
    exit;
}
$where = $socket !== '' ? "unix_socket=$socket" : 'host=127.0.0.1;port=' . getenv('PORT');
$options = [
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
    PDO::ATTR_EMULATE_PREPARES => $driver === 'emulated',
    PDO::MYSQL_ATTR_USE_BUFFERED_QUERY => $driver !== 'unbuffered',
    PDO::ATTR_PERSISTENT => $driver === 'persistent',
    PDO::MYSQL_ATTR_FOUND_ROWS => $driver === 'native',
];
for ($round = 0; $round < 2; $round++) {
    $link = new PDO("mysql:$where;dbname=app;charset=utf8mb4", getenv('DBUSER'), getenv('DBPASSWORD'), $options);
    $all = function (string $sql, array $values = []) use ($link): array {
        $statement = $link->prepare($sql);
        $statement->execute($values);
        return $statement->fetchAll(PDO::FETCH_NUM);
    };
    tell('types', $all("SELECT 1, -2, 1.50, NULL, 'hé☃', DATE '2024-02-29', ?", ["it's ☃"]));
    $link->exec('DROP TABLE IF EXISTS driven');
    $link->exec('CREATE TABLE driven (id INT AUTO_INCREMENT PRIMARY KEY, v VARCHAR(60) UNIQUE) AUTO_INCREMENT = 100');
    $insert = $link->prepare('INSERT INTO driven (v) VALUES (?)');
    foreach (['a', "quote ' \\ \"", null] as $value) {
        $insert->execute([$value]);
        tell('insert', $insert->rowCount(), $link->lastInsertId());
    }
    tell('rows', $all('SELECT * FROM driven WHERE id > ? ORDER BY id', [100]));
    $link->beginTransaction();
    $link->exec('DELETE FROM driven');
    tell('in transaction', $link->inTransaction());
    $link->rollBack();
    tell('rolled back', $all('SELECT COUNT(*) FROM driven'));
    tell('unchanged', $link->exec("UPDATE driven SET v = 'a' WHERE id = 100"));
    tell('errors', code(fn () => $link->exec("INSERT INTO driven (v) VALUES ('a')")), code(fn () => $all('SELECT * FROM nowhere')), code(fn () => $all('SELEC ?', [1])));
    $link->exec('SET @x = 5');
    tell('user variable', $all('SELECT @x + 1'));
    $link->exec('CREATE TEMPORARY TABLE IF NOT EXISTS passing (n INT)');
    $link->exec('INSERT INTO passing VALUES (1), (2)');
    tell('temporary table', $all('SELECT SUM(n) FROM passing'));
    $link->exec('DROP TEMPORARY TABLE passing');
    $link->exec('SET @x = NULL');
    $statement = $link->query('SELECT id, v FROM kv ORDER BY id');
    tell('streamed', $statement->fetch(PDO::FETCH_NUM));
    $statement->closeCursor();
    $link->exec('DROP TABLE driven');
    tell('version', $link->getAttribute(PDO::ATTR_SERVER_VERSION) === $all('SELECT VERSION()')[0][0]);
    $link = null;
}
