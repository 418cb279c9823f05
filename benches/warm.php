<?php
// warm.php: what warm.sh measures the warm jobs against, and what it checks them with. The first word says what it does, then name=value:
//   write  the same loop in PHP, as a cron job would have it: pages by mysqli, values by pipelines of phpredis, both over TLS
//   check  keys that a warm job wrote are === what PHP reads from the table itself; prints how many it looked at
error_reporting(E_ALL);
mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
const COLUMNS = 'id, sku, name, price, stock, description, updated';
const PAGE = 1000;
const PIPELINE = 200;
const TTL = 3600;

parse_str(implode('&', array_slice($argv, 2)), $o);
['format' => $format, 'rows' => $rows, 'ca' => $ca] = $o;
$mysql = mysqli_init();
$mysql->options(MYSQLI_OPT_INT_AND_FLOAT_NATIVE, 1);
$mysql->ssl_set(null, null, $ca, null, null);
$mysql->real_connect('127.0.0.1', 'app', getenv('APP_PASSWORD'), 'app', (int) $o['mysql_port'], null, MYSQLI_CLIENT_SSL);
$mysql->set_charset('utf8mb4');
$redis = new Redis();
$redis->connect('tls://127.0.0.1', (int) $o['redis_port'], 5, null, 0, 30, ['stream' => ['cafile' => $ca]]);
$redis->auth(getenv('REDISCLI_AUTH'));

match ($argv[1]) {
    'write' => write($mysql, $redis, $format, (int) $rows),
    'check' => check($mysql, $redis, $format, (int) $rows),
};

function page(mysqli $mysql, int $last, int $rows, int $page): array
{
    $sql = 'SELECT ' . COLUMNS . " FROM products WHERE id > $last AND id <= $rows ORDER BY id LIMIT $page";
    return $mysql->query($sql)->fetch_all(MYSQLI_ASSOC);
}

function write(mysqli $mysql, Redis $redis, string $format, int $rows): void
{
    $value = match ($format) {
        'row-json' => fn (array $row): string => json_encode($row, JSON_UNESCAPED_UNICODE | JSON_UNESCAPED_SLASHES),
        'row-php' => serialize(...),
        'row-igbinary' => igbinary_serialize(...),
        'hash' => null,
    };
    for ($last = 0; ($page = page($mysql, $last, $rows, PAGE)) !== []; $last = end($page)['id']) {
        foreach (array_chunk($page, PIPELINE) as $chunk) {
            $pipe = $redis->pipeline();
            foreach ($chunk as $row) {
                $key = "$format:$row[id]";
                if ($value) {
                    $pipe->setex($key, TTL, $value($row));
                } else {
                    $pipe->hMSet($key, $row);
                    $pipe->expire($key, TTL);
                }
            }
            !in_array(false, $pipe->exec(), true) || exit("Redis refused a write\n");
        }
    }
}

function check(mysqli $mysql, Redis $redis, string $format, int $rows): void
{
    $read = match ($format) {
        'row-json' => fn (string $key) => json_decode($redis->get($key), true),
        'row-php' => fn (string $key) => unserialize($redis->get($key)),
        'row-igbinary' => fn (string $key) => igbinary_unserialize($redis->get($key)),
        'hash' => fn (string $key) => $redis->hGetAll($key),
    };
    for ($looked = 0, $id = 1; $id <= $rows; $id += max(1, intdiv($rows, 200)), $looked++) {
        [$row] = page($mysql, $id - 1, $rows, 1);
        $row = $format === 'hash' ? array_map('strval', $row) : $row;
        [$key, $life] = ["$format:$id", $redis->ttl("$format:$id")];
        $read($key) === $row || exit("$key is not what PHP would have cached\n");
        abs($life - TTL) <= 0.11 * TTL || exit("$key lives $life s\n");
    }
    echo $looked;
}
