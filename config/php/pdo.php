<?php
// MySQL through Lamplighter with PDO. The user name is a [mysql.clients.NAME] of lamplighter.toml with this process's user in
// its peer_users; the agent pools, so PDO::ATTR_PERSISTENT gains nothing.
$db = new PDO('mysql:unix_socket=/run/lamplighter/mysql.sock;dbname=shop;charset=utf8mb4', 'shop', '', [
    PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
]);

$statement = $db->prepare('SELECT name, price_cents FROM products WHERE id = ?');
$statement->execute([1]);
print_r($statement->fetch(PDO::FETCH_ASSOC));
