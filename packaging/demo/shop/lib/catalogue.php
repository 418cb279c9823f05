<?php
declare(strict_types=1);

namespace Shop;

use mysqli;

/** What the shop sells. The rows live under shop:product:{id}, where the agent's warm job puts them before anybody asks. */
final class Catalogue
{
    private const COLUMNS = 'id, name, blurb, price_cents, picture';

    /** @return array<int, array<string, mixed>> */
    public static function all(mysqli $db): array
    {
        Trace::count('reads');
        $stock = $db->query('SELECT id, stock FROM products ORDER BY id')->fetch_all(MYSQLI_ASSOC);
        $rows = self::rows($db, array_map(intval(...), array_column($stock, 'id')));
        foreach ($stock as $line) {
            $rows[(int) $line['id']]['stock'] = (int) $line['stock'];
        }
        return $rows;
    }

    /**
     * @param list<int> $ids
     * @return array<int, array<string, mixed>>
     */
    public static function rows(mysqli $db, array $ids): array
    {
        return Cache::rows('shop:product:', $ids, 3600, static function (array $missing) use ($db): array {
            Trace::count('reads');
            $marks = implode(', ', array_fill(0, count($missing), '?'));
            $result = $db->execute_query('SELECT ' . self::COLUMNS . " FROM products WHERE id IN ($marks)", $missing);
            return array_column($result->fetch_all(MYSQLI_ASSOC), null, 'id');
        });
    }

    /** @return list<array{product_id: int|string, sold: int|string}> */
    public static function bestsellers(mysqli $db): array
    {
        return Cache::value('shop:bestsellers', 2, static function () use ($db): array {
            Trace::count('reads');
            return $db->query('SELECT product_id, SUM(quantity) AS sold FROM orders GROUP BY product_id ORDER BY sold DESC, product_id LIMIT 3')
                ->fetch_all(MYSQLI_ASSOC);
        });
    }
}
