<?php
// report.php SEEN: one screen that says what happened for each step of the architecture. It reads what the acts of up.sh saw (files
// in SEEN), the ports (environment), and asks the agent and Prometheus once. It only tells what was counted, by whom it was counted.
declare(strict_types=1);

$seen = $argv[1] ?? exit("usage: report.php SEEN\n");

/** @return list<list<string>> the tab-separated lines of a file in SEEN */
function table(string $name): array
{
    global $seen;
    $lines = is_file("$seen/$name") ? file("$seen/$name", FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES) : [];
    return array_map(static fn (string $line): array => explode("\t", $line), $lines);
}

function url(string $port, string $path): string
{
    return 'http://127.0.0.1:' . getenv($port) . $path;
}

/** @return array{int, string} status and body; status 0 when nobody answered */
function fetch(string $url): array
{
    $body = @file_get_contents($url, false, stream_context_create(['http' => ['timeout' => 5, 'ignore_errors' => true]]));
    preg_match('/ (\d{3})/', $http_response_header[0] ?? '', $status);
    return [(int) ($status[1] ?? 0), trim((string) $body)];
}

/** @return list<array{metric: array<string, string>, value: array{float, string}}> */
function prometheus(string $query): array
{
    return json_decode(fetch(url('PROMETHEUS_PORT', '/api/v1/query?query=' . rawurlencode($query)))[1], true)['data']['result'] ?? [];
}

/** The value of a query with one result, as text; "?" when Prometheus has no such series, which must not look like a zero. */
function measured(string $query, int $decimals = 0): string
{
    $result = prometheus($query);
    return $result === [] ? '?' : number_format((float) $result[0]['value'][1], $decimals);
}

function number(int|float $of): string
{
    return number_format($of);
}

// --- what was seen ------------------------------------------------------------------------------------------------------------
$counted = ['connects' => 0, 'reads' => 0, 'locked' => 0, 'writes' => 0, 'hits' => 0, 'misses' => 0];
$codes = $times = [];
$pages = ['orders' => 0, 'pictures' => 0, 'pages' => 0];
foreach (table('requests') as [$code, $seconds, $method, $address, $trace]) {
    $codes[$code] = ($codes[$code] ?? 0) + 1;
    $times[] = (float) $seconds * 1000;
    $pages[$method === 'POST' ? 'orders' : (str_contains($address, '/media/') ? 'pictures' : 'pages')]++;
    parse_str(str_replace(' ', '&', $trace), $said);
    foreach ($said as $what => $times_it) {
        $counted[$what] += (int) $times_it;
    }
}
sort($times);
$percentile = static fn (float $p): string => number_format($times[(int) floor(($p / 100) * (count($times) - 1))], 1);
$failed = count($times) - ($codes['200'] ?? 0);

// server => counter => how often between the two readings
$did = [];
foreach (['before' => -1, 'after' => 1] as $when => $sign) {
    foreach (table($when) as [$server, $name, $value]) {
        $did[$server][$name] = ($did[$server][$name] ?? 0) + $sign * (int) $value;
    }
}
$nodes = ['node0' => 'primary', 'node1' => 'replica 1', 'node2' => 'replica 2'];
$opened = array_sum(array_map(static fn (string $node): int => $did[$node]['connections'], array_keys($nodes)));

[$lb, $lbBody] = fetch(url('HEALTH_PORT', '/lb'));
[$azure, $azureBody] = fetch(url('HEALTH_PORT', '/health/azure'));
$drained = table('drained');
[$name, $oldTag, $newTag, $milliseconds] = table('replaced')[0];
$before = array_column(table('others-before'), 0);
$untouched = count(array_intersect($before, array_column(table('others-after'), 0)));

// --- the screen ---------------------------------------------------------------------------------------------------------------
$line = str_repeat('─', 126);
$say = static function (string $step, string ...$lines) : void {
    foreach ($lines as $i => $text) {
        printf("%-26s  %s\n", $i === 0 ? $step : '', $text);
    }
};

echo "\n$line\nLamplighter: one instance and its cloud services on this machine, up and driven in " . getenv('TOOK') . " s\n$line\n";
$say(
    '1 load balancer',
    sprintf('/lb answers %d "%s", /health/azure answers %d %s', $lb, $lbBody, $azure, preg_replace('/\s+/', ' ', $azureBody)),
    sprintf('%s requests after %d probes, 4 at a time: %s answered with 200, %d not; p50 %s ms, p99 %s ms', number(count($times)), count(table('lb')), number($codes['200'] ?? 0), $failed, $percentile(50), $percentile(99)),
    sprintf('%d pages, %d orders, %d pictures; drained by an operator: /lb %s, while the shop still answered %s; then back', $pages['pages'], $pages['orders'], $pages['pictures'], $drained[0][0], $drained[1][0]),
);
$say(
    '2 cache first (Redis)',
    sprintf('PHP found %s of %s rows in Redis; the %d it did not find are the bestsellers, which expire after 2 s', number($counted['hits']), number($counted['hits'] + $counted['misses']), $counted['misses']),
    sprintf('Redis itself counted %s hits and %s misses', number($did['redis']['keyspace_hits']), number($did['redis']['keyspace_misses'])),
    sprintf('%s keys written by the agent\'s warm job (SQL -> Redis, over TLS), before the first customer came', measured('sum(lamplighter_redis_warm_keys_total)')),
);
$say(
    '3 MySQL by the agent',
    sprintf('PHP opened %s connections -> the servers saw %s (every one of them TLS); they stay open for the next request', number($counted['connects']), number($opened)),
    sprintf('PHP sent %s reads, %s locking reads and %s writes in %s transactions; each server counted:', number($counted['reads']), number($counted['locked']), number($counted['writes']), number($pages['orders'])),
);
$columns = ['connections' => 'connections', 'SELECT' => 'sql/select', 'prepared' => 'com/Execute', 'SET' => 'sql/set_option', 'BEGIN' => 'sql/begin', 'UPDATE' => 'sql/update', 'INSERT' => 'sql/insert', 'COMMIT' => 'sql/commit'];
printf("%28s%-10s" . str_repeat(' %11s', count($columns)) . "\n", '', '', ...array_keys($columns));
foreach ($nodes as $node => $role) {
    $cells = array_map(static fn (string $of): string => number($did[$node][$of] ?? $did[$node]["statement/$of"] ?? 0), array_values($columns));
    printf("%28s%-10s" . str_repeat(' %11s', count($columns)) . "\n", '', $role, ...$cells);
}
$held = array_map(
    static fn (array $row): string => number((float) $row['value'][1]) . ' × ' . str_replace('_', ' ', $row['metric']['reason']),
    prometheus('sort_desc(lamplighter_mysql_holds_total > 0)'),
);
$say('', sprintf('%s statements needed no server: the SET NAMES of PHP\'s set_charset() changes nothing, so the agent answers it', measured('lamplighter_mysql_local_answers_total')));
$say('', 'a client kept its server connection only while it had to: ' . implode(', ', $held));
$say('4 replication', sprintf('both replicas executed every order (same GTID set as the primary); lag seen by the agent: %s s', measured('max(lamplighter_mysql_replica_lag_seconds)', 1)));
$say(
    '5 files from the container',
    sprintf('%s files kept in step by the agent; an editor replaced %s:', measured('sum(lamplighter_sync_files)'), $name),
    sprintf('etag %s -> %s, on disk and in the shop %s ms later; %d of the %d other files not touched', $oldTag, $newTag, number((int) $milliseconds), $untouched, count($before)),
);
$say(
    '6 operators',
    sprintf('Prometheus: target up = %s, %s series of the agent, %s good scrapes, the last took %s ms', measured('up{job="lamplighter"}'), measured('count({job="lamplighter"})'), measured('sum_over_time(up{job="lamplighter"}[10m])'), measured('1000 * scrape_duration_seconds{job="lamplighter"}', 1)),
);
$say(
    'look at',
    'shop          ' . url('SHOP_PORT', '/'),
    'probes        ' . url('HEALTH_PORT', '/lb') . '   ' . url('HEALTH_PORT', '/health/azure') . '   ' . url('HEALTH_PORT', '/readyz?verbose'),
    'status page   ' . url('ADMIN_PORT', '/'),
    'metrics       ' . url('METRICS_PORT', '/metrics'),
    'Prometheus    ' . url('PROMETHEUS_PORT', '/graph?g0.expr=rate(lamplighter_mysql_routed_total[5s])&g0.tab=0&g0.range_input=5m'),
    'the agent     ' . dirname($seen) . '/lamplighter status --config ' . dirname($seen) . '/lamplighter.toml',
    'everything is in ' . dirname($seen) . ' (log/, lamplighter.toml); make demo-down ends it',
);
echo "$line\n";
