<?php
// SET: on whichever connection the next statement runs, it runs under what this client has set and nobody else has.
require __DIR__ . '/mysql.php';

$plain = endpoint();
$latin = endpoint();
$ansi = endpoint();
$latin->query('SET NAMES latin1');
$ansi->query("SET SESSION sql_mode = 'ANSI_QUOTES', SESSION group_concat_max_len = 2048");
$ansi->query("SET time_zone = '+05:00'");
for ($round = 0; $round < 3; $round++) {
    same("\xc3\xbc", one($plain, "SELECT 'ü'"), 'utf8mb4');
    same("\xfc", one($latin, "SELECT '\xfc'"), 'latin1');
    same('latin1', one($latin, 'SELECT @@character_set_results'), 'the character set of results');
    same('latin1_swedish_ci', one($latin, 'SELECT @@collation_connection'), 'the collation');
    same('1', one($ansi, 'SELECT "id" FROM kv WHERE id = 1'), 'ANSI_QUOTES');
    same('2048', one($ansi, 'SELECT @@group_concat_max_len'), 'a number');
    same('+05:00', one($ansi, 'SELECT @@time_zone'), 'time_zone');
    same('id', one($plain, 'SELECT "id" FROM kv WHERE id = 1'), 'no ANSI_QUOTES');
    same('SYSTEM', one($plain, 'SELECT @@time_zone'), 'the default time_zone');
    same('1024', one($plain, 'SELECT @@group_concat_max_len'), 'the default number');
}
$latin->query("SET NAMES utf8mb4 COLLATE utf8mb4_unicode_ci");
same('utf8mb4_unicode_ci', one($latin, 'SELECT @@collation_connection'), 'a collation by name');
$plain->query("SET NAMES utf8mb4");
same('utf8mb4_0900_ai_ci', one($plain, 'SELECT @@collation_connection'), 'the default collation of utf8mb4');
same('utf8mb4_unicode_ci', one($latin, 'SELECT @@collation_connection'), 'and not the neighbour\'s');

// an error sets nothing, whether it is in the first or in the last of several
same(1231, error_of(fn () => $plain->query("SET time_zone = '+01:00', sql_mode = 'NO_SUCH_MODE'")), 'a bad value');
same('SYSTEM', one($plain, 'SELECT @@time_zone'), 'nothing of it');
same(1193, error_of(fn () => $plain->query('SET no_such_variable = 1')), 'an unknown variable');
same(1115, error_of(fn () => $plain->query('SET NAMES no_such_set')), 'an unknown character set');

// in a transaction, and DEFAULT, which is whatever the global value is then
$plain->begin_transaction();
$plain->query("SET time_zone = '+02:00'");
same('+02:00', one($plain, 'SELECT @@time_zone'), 'in a transaction');
$plain->rollback();
same('+02:00', one($plain, 'SELECT @@time_zone'), 'after it: SET is not rolled back');
$plain->query('SET time_zone = DEFAULT');
same('SYSTEM', one($plain, 'SELECT @@time_zone'), 'DEFAULT');
$plain->query("SET time_zone = '+03:00'");
same('+03:00', one($plain, 'SELECT @@time_zone'), 'set again');

// the client must know how to escape
$escapes = endpoint();
$escapes->query("SET sql_mode = 'NO_BACKSLASH_ESCAPES'");
same("it''s \\", $escapes->real_escape_string("it's \\"), 'escaping without backslashes');
same("it's \\", one($escapes, "SELECT '" . $escapes->real_escape_string("it's \\") . "'"), 'and back');
$again = endpoint();
same("it\\'s \\\\", $again->real_escape_string("it's \\"), 'escaping with backslashes');
$again->query("SET sql_mode = 'NO_BACKSLASH_ESCAPES'");
same("it''s \\", $again->real_escape_string("it's \\"), 'escaping after a SET that was answered here');
$again->query('SET sql_mode = \'\'');
same("it\\'s \\\\", $again->real_escape_string("it's \\"), 'and back again');

// reset and change_user forget all of it
same(true, $latin->change_user('web', '', 'app'), 'change_user');
same('utf8mb4', one($latin, 'SELECT @@character_set_results'), 'after change_user');
same('SYSTEM', one($ansi, 'SELECT @@global.time_zone'), 'the global value is as it was');
echo 'ok';
