<?php
// Shared by the MySQL programs: connects as the environment says, and fails loudly.
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
set_error_handler(function (int $level, string $text, string $file, int $line) {
    throw new ErrorException($text, 0, $level, $file, $line);
});

/** A new connection to the endpoint, without a password: the kernel vouches for us. */
function endpoint(string $schema = 'app'): mysqli
{
    $link = mysqli_init();
    $link->options(MYSQLI_OPT_LOCAL_INFILE, getenv('INFILE') === '1');
    $link->real_connect('localhost', getenv('USER_NAME') ?: 'web', getenv('PASSWORD') ?: '', $schema, 0, getenv('SOCKET'));
    return $link;
}

/** The first column of the first row. */
function one(mysqli $link, string $sql): mixed
{
    return $link->query($sql)->fetch_row()[0];
}

function same(mixed $expected, mixed $seen, string $what): void
{
    if ($expected !== $seen) {
        fwrite(STDERR, "$what: expected " . var_export($expected, true) . ', saw ' . var_export($seen, true) . "\n");
        exit(1);
    }
}

/** The error number that $act ends with; 0 if it ends well. */
function error_of(callable $act): int
{
    try {
        $act();
    } catch (mysqli_sql_exception $error) {
        return $error->getCode();
    }
    return 0;
}
