<?php
// Results and statements of every shape and size come through whole.
require __DIR__ . '/mysql.php';
$link = endpoint();

// one row around the 16 MiB - 1 where a packet is split; the row itself has 4 bytes of length in front
foreach ([0, 1, 250, 251, 65536, 16777210, 16777211, 16777212, 33554426] as $size) {
    $row = one($link, "SELECT REPEAT('x', $size)");
    same($size, strlen($row), "a value of $size bytes");
    same($size, strspn($row, 'x'), "a value of $size bytes, byte by byte");
}
// many rows, more than any buffer, read one by one
$sum = 0;
$rows = $link->query('SELECT a.id * 1000 + b.id FROM kv a JOIN kv b WHERE a.id <= 200', MYSQLI_USE_RESULT);
while ($row = $rows->fetch_row()) {
    $sum += (int) $row[0];
}
$rows->free();
same(200 * 201 / 2 * 1000 * 1000 + 200 * 1000 * 1001 / 2, $sum, 'the sum over 200,000 rows');

// a statement larger than a packet, and one larger than what is looked through
foreach ([100, 2 << 20, 17 << 20] as $size) {
    $value = str_repeat('y', $size);
    same((string) $size, one($link, "SELECT LENGTH('$value')"), "a statement of $size bytes");
}

// several statements, several results, an error among them
$link->multi_query('SELECT 1; SELECT 2 FROM kv WHERE id <= 2; DO 0; SELECT 3');
$seen = [];
do {
    $result = $link->store_result();
    $seen[] = $result ? array_merge(...$result->fetch_all()) : null;
} while ($link->more_results() && $link->next_result());
same([['1'], ['2', '2'], null, ['3']], $seen, 'multi-statement results');
same(1146, error_of(function () use ($link) {
    $link->multi_query('SELECT 1; SELECT * FROM no_such_table; SELECT 2');
    do {
        $link->store_result();
    } while ($link->more_results() && $link->next_result());
}), 'an error in the second statement');
same('after', one($link, "SELECT 'after'"), 'the connection goes on after it');

// a procedure with two result sets
$link->query('DROP PROCEDURE IF EXISTS two_results');
$link->query('CREATE PROCEDURE two_results() BEGIN SELECT 1 AS a; SELECT 2 AS b, 3 AS c; END');
$link->multi_query('CALL two_results()');
$seen = [];
do {
    if ($result = $link->store_result()) {
        $seen[] = $result->fetch_assoc();
    }
} while ($link->more_results() && $link->next_result());
same([['a' => '1'], ['b' => '2', 'c' => '3']], $seen, 'results of a procedure');

// the binary protocol: types, NULL, long data, a cursor, an error, reuse
$statement = $link->prepare('SELECT ?, ?, ?, LENGTH(?)');
$long = str_repeat('z', 3 << 20);
[$int, $float, $null, $blob] = [PHP_INT_MAX, 0.5, null, null];
$statement->bind_param('idsb', $int, $float, $null, $blob);
foreach (str_split($long, 1 << 20) as $piece) {
    $statement->send_long_data(3, $piece);
}
$statement->execute();
same([PHP_INT_MAX, 0.5, null, strlen($long)], $statement->get_result()->fetch_row(), 'binary parameters');
$statement->close();
$statement = $link->prepare('SELECT id FROM kv WHERE id <= ? ORDER BY id');
$statement->attr_set(MYSQLI_STMT_ATTR_CURSOR_TYPE, MYSQLI_CURSOR_TYPE_READ_ONLY);
$limit = 50;
$statement->bind_param('i', $limit);
$statement->execute();
$statement->bind_result($id);
$ids = [];
while ($statement->fetch()) {
    $ids[] = $id;
}
same(range(1, 50), $ids, 'rows through a cursor');
$statement->close();
same(1146, error_of(fn () => $link->prepare('SELECT * FROM no_such_table')), 'a prepare that fails');
same('still here', one($link, "SELECT 'still here'"), 'the connection goes on');

// PDO, with the server's own prepared statements and with emulated ones
foreach ([false, true] as $emulate) {
    $pdo = new PDO('mysql:unix_socket=' . getenv('SOCKET') . ';dbname=app;charset=utf8mb4', 'web', '', [
        PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
        PDO::ATTR_EMULATE_PREPARES => $emulate,
    ]);
    $query = $pdo->prepare('SELECT v FROM kv WHERE id = ?');
    foreach ([1, 999, 1] as $id) {
        $query->execute([$id]);
        same("value-$id", $query->fetchColumn(), 'PDO');
    }
    same('grüße 🕯', $pdo->query("SELECT 'grüße 🕯'")->fetchColumn(), 'utf8mb4');
}
echo 'ok';
