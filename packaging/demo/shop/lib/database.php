<?php
declare(strict_types=1);

namespace Shop;

use mysqli;
use PDO;

/**
 * The three ways PHP code talks to MySQL, each as a shop would write it: a new connection per request, a socket path, and nothing
 * about TLS, replicas, pools or retries.
 */
final class Database
{
    public static function mysqli(): mysqli
    {
        Trace::count('connects');
        mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
        $db = new mysqli('localhost', setting('MYSQL_USER'), '', 'shop', 0, setting('MYSQL_SOCKET'));
        $db->set_charset('utf8mb4');
        return $db;
    }

    /** Prepared statements on the server: COM_STMT_PREPARE, COM_STMT_EXECUTE. */
    public static function nativePdo(): PDO
    {
        return self::pdo(false);
    }

    /** PDO's default for MySQL: placeholders filled in by PHP, one text query per statement. */
    public static function emulatedPdo(): PDO
    {
        return self::pdo(true);
    }

    private static function pdo(bool $emulate): PDO
    {
        Trace::count('connects');
        $dsn = 'mysql:unix_socket=' . setting('MYSQL_SOCKET') . ';dbname=shop;charset=utf8mb4';
        return new PDO($dsn, setting('MYSQL_USER'), '', [
            PDO::ATTR_EMULATE_PREPARES => $emulate,
            PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION,
            PDO::ATTR_DEFAULT_FETCH_MODE => PDO::FETCH_ASSOC,
        ]);
    }
}
