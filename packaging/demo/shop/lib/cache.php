<?php
declare(strict_types=1);

namespace Shop;

use Redis;

/** Cache-aside: look in Redis, load what is missing from MySQL, leave it in Redis for the next request. */
final class Cache
{
    private static ?Redis $redis = null;

    /**
     * Rows by id under "$prefix$id"; $load gets the ids that are missing and returns their rows by id.
     *
     * @param list<int> $ids
     * @param callable(list<int>): array<int, array<string, mixed>> $load
     * @return array<int, array<string, mixed>>
     */
    public static function rows(string $prefix, array $ids, int $seconds, callable $load): array
    {
        if ($ids === []) {
            return [];
        }
        $rows = [];
        $found = self::redis()->mGet(array_map(static fn (int $id): string => $prefix . $id, $ids));
        foreach ($ids as $position => $id) {
            $rows[$id] = is_string($found[$position]) ? json_decode($found[$position], true) : null;
        }
        $missing = array_keys($rows, null, true);
        Trace::count('hits', count($ids) - count($missing));
        Trace::count('misses', count($missing));
        foreach ($missing === [] ? [] : $load($missing) as $id => $row) {
            $rows[$id] = $row;
            self::redis()->setex($prefix . $id, $seconds, (string) json_encode($row));
        }
        return array_filter($rows, static fn (?array $row): bool => $row !== null);
    }

    /** One value under one key. */
    public static function value(string $key, int $seconds, callable $load): mixed
    {
        $found = self::redis()->get($key);
        if (is_string($found)) {
            Trace::count('hits');
            return json_decode($found, true);
        }
        Trace::count('misses');
        $value = $load();
        self::redis()->setex($key, $seconds, (string) json_encode($value));
        return $value;
    }

    private static function redis(): Redis
    {
        if (self::$redis === null) {
            self::$redis = new Redis();
            $host = setting('REDIS_HOST');
            $context = setting('REDIS_CA') === '' ? [] : ['stream' => ['cafile' => setting('REDIS_CA')]];
            self::$redis->connect($host, (int) setting('REDIS_PORT'), 2.0, null, 0, 2.0, $context);
            $password = secret('REDIS_PASSWORD');
            if ($password !== '') {
                self::$redis->auth($password);
            }
        }
        return self::$redis;
    }
}
