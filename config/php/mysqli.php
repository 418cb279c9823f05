<?php
// MySQL through Lamplighter with mysqli: a socket path, a user name, a schema; no password, no TLS, no replica list.
// The user name is a [mysql.clients.NAME] of lamplighter.toml with this process's user in its peer_users.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);

$db = new mysqli('localhost', 'shop', '', 'shop', 0, '/run/lamplighter/mysql.sock');
$db->set_charset('utf8mb4');

$statement = $db->prepare('SELECT name, price_cents FROM products WHERE id = ?');
$statement->execute([1]);
print_r($statement->get_result()->fetch_assoc());
