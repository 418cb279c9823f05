<?php
// LOAD DATA LOCAL: refused by default, relayed when it is switched on.
require __DIR__ . '/mysql.php';
$link = endpoint();
$file = tempnam(sys_get_temp_dir(), 'infile');
$lines = '';
for ($id = 1; $id <= 200000; $id++) {
    $lines .= "$id\tvalue number $id\n";
}
file_put_contents($file, $lines);
$link->query('DROP TABLE IF EXISTS loaded');
$link->query('CREATE TABLE loaded (id INT PRIMARY KEY, v VARCHAR(50))');
// PDO, because mysqli needs a setting of php.ini as well
$pdo = new PDO('mysql:unix_socket=' . getenv('SOCKET') . ';dbname=app', 'web', '', [PDO::MYSQL_ATTR_LOCAL_INFILE => true]);
$load = function () use ($pdo, $file): int {
    try {
        $pdo->exec("LOAD DATA LOCAL INFILE '$file' INTO TABLE loaded");
        return 0;
    } catch (PDOException $error) {
        return (int) $error->errorInfo[1];
    }
};
if (getenv('INFILE') === '1') {
    same(0, $load(), 'loading');
    same('200000', one($link, 'SELECT COUNT(*) FROM loaded'), 'rows loaded');
    // an empty file is one empty packet
    file_put_contents($file, '');
    same(0, $load(), 'loading nothing');
} else {
    same(true, in_array($load(), [1148, 3948, 2068], true), 'loading is refused');
}
same('1', one($link, 'SELECT 1'), 'the connection goes on');
unlink($file);
echo 'ok';
