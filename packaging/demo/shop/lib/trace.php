<?php
declare(strict_types=1);

namespace Shop;

/** Counts what this request asked of MySQL and Redis. The page's footer shows it, a response header tells whoever drives the shop. */
final class Trace
{
    /** @var array<string, int> */
    private static array $counts = ['connects' => 0, 'reads' => 0, 'locked' => 0, 'writes' => 0, 'hits' => 0, 'misses' => 0];

    public static function count(string $what, int $by = 1): void
    {
        self::$counts[$what] += $by;
    }

    public static function get(string $what): int
    {
        return self::$counts[$what];
    }

    public static function send(): void
    {
        header('X-Shop-Trace: ' . http_build_query(self::$counts, '', ' '));
    }
}
