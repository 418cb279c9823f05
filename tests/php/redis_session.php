<?php
// Sessions through the endpoint, with phpredis' own locking; prints "done" when all is as expected.

$socket = getenv('SOCKET');
ini_set('session.save_handler', 'redis');
ini_set('session.save_path', "unix://$socket");
ini_set('redis.session.locking_enabled', '1');
ini_set('session.use_cookies', '0');
ini_set('session.cache_limiter', '');
session_id('abc123');
session_start();
$_SESSION['cart'] = [7 => 2];
session_write_close();
$_SESSION = [];
session_id('abc123');
session_start();
if ($_SESSION !== ['cart' => [7 => 2]]) {
    echo 'read back: ', var_export($_SESSION, true), "\n";
}
session_destroy();
session_id('abc123');
session_start();
if ($_SESSION !== []) {
    echo 'destroyed: ', var_export($_SESSION, true), "\n";
}
session_write_close();
echo "done\n";
