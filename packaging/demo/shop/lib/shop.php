<?php
// What every page of the shop starts with: its surroundings, its two connections' code, its layout.
declare(strict_types=1);

namespace Shop;

require __DIR__ . '/trace.php';
require __DIR__ . '/database.php';
require __DIR__ . '/cache.php';
require __DIR__ . '/catalogue.php';
require __DIR__ . '/page.php';

ob_start();
set_exception_handler(static function (\Throwable $e): void {
    error_log((string) $e);
    if (ob_get_level() > 0) {
        ob_end_clean();
    }
    http_response_code(500);
    header('Content-Type: text/plain; charset=utf-8');
    Trace::send();
    echo "The shop could not answer: {$e->getMessage()}\n";
});

/** A setting from the pool's configuration; '' where it is not set. */
function setting(string $name): string
{
    return (string) getenv("SHOP_$name");
}

/** A secret from the file that a setting names; '' where there is none. */
function secret(string $name): string
{
    $file = setting($name . '_FILE');
    return $file === '' ? '' : trim((string) file_get_contents($file));
}
