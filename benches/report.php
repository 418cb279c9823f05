<?php
// report.php FOLDER: tables in Markdown from what run.sh left in its folder of results.
// report.php --into README REPORT: puts a report between the markers of README.

const MARKERS = ['<!-- results: written by run.sh -->', '<!-- end of results -->'];

/** Percent of the cores that others may use in a run that is to be compared with anything. */
const OTHERS_MAX = 10;

if ($argv[1] === '--into') {
    [, , $readme, $report] = $argv;
    $text = file_get_contents($readme);
    $begin = strpos($text, MARKERS[0]);
    $end = $begin === false ? false : strpos($text, MARKERS[1], $begin);
    if ($end === false) {
        throw new RuntimeException("$readme has no markers");
    }
    $begin += strlen(MARKERS[0]);
    file_put_contents($readme, substr($text, 0, $begin) . "\n" . file_get_contents($report) . substr($text, $end));
    exit;
}

final class Results
{
    /** @var array<string, string> */
    public readonly array $about;
    /** @var array<string, string> */
    public readonly array $names;

    public function __construct(private readonly string $folder)
    {
        $pairs = fn (string $file, string $by): array => array_column(array_map(fn ($line) => explode($by, $line, 2), $this->lines($file)), 1, 0);
        $this->about = $pairs('about', '=');
        $this->names = $pairs('names', '|');
    }

    /** @return list<string> */
    public function lines(string $file): array
    {
        $path = "$this->folder/$file";
        return is_file($path) ? file($path, FILE_IGNORE_NEW_LINES | FILE_SKIP_EMPTY_LINES) : [];
    }

    /** @return array<string, mixed> */
    public function json(string $name): array
    {
        return json_decode(file_get_contents("$this->folder/$name.json"), true, flags: JSON_THROW_ON_ERROR);
    }

    /**
     * sysbench, by number of clients and endpoint: medians of queries/s, p95 in ms, and CPU time in us for a query, of what is in front of
     * MySQL and of MySQL; or the error.
     * @return array<int, array<string, list<float>|string>>
     */
    public function busy(): array
    {
        $rounds = [];
        foreach ($this->lines('busy') as $line) {
            [$clients, $key, $rate, $rest] = explode(' ', "$line ", 4);
            if ($rate === 'failed') {
                $rounds[$clients][$key][] = trim($rest);
            } else {
                [$p95, $queries, $own, $server] = array_map(floatval(...), explode(' ', $rest));
                $each = 1e6 / $this->about['ticks'] / max($queries, 1);
                $rounds[$clients][$key][] = [(float) $rate, $p95, $own * $each, $server * $each];
            }
        }
        $medians = function (array $rounds): array|string {
            $errors = array_filter($rounds, is_string(...));
            return $errors ? reset($errors) : array_map(fn (int $column): float => median(array_column($rounds, $column)), [0, 1, 2, 3]);
        };
        return array_map(fn (array $keys): array => array_map($medians, $keys), $rounds);
    }

    /**
     * What reached the server for each statement beside it: how many commands that have an answer, server connections used, and
     * which commands. Or the error.
     * @return array{extra?: float, connections?: int, which?: string, error?: string}
     */
    public function commands(string $mode, string $key): array
    {
        $error = $this->json("counted-$mode-$key")[$key]['error'] ?? null;
        if ($error !== null) {
            return ['error' => $error];
        }
        [$statements, $others, $connections, $which] = [0, 0, 0, []];
        foreach ($this->lines("log-$mode-$key") as $line) {
            [$count, $threads, $command, $what] = explode("\t", "$line\t");
            $connections = max($connections, (int) $threads);
            if ($what === 'the statement') {
                $statements += (int) $count;
            } else {
                $others += $command === 'Quit' ? 0 : (int) $count;
                $which[] = number($count / $this->about['counted'], 2) . ' ' . ($what === '' ? $command : "`$what`");
            }
        }
        return $statements === (int) $this->about['counted']
            ? ['extra' => $others / $statements, 'connections' => $connections, 'which' => implode(', ', $which)]
            : ['error' => "the server saw $statements statements of {$this->about['counted']}"];
    }
}

/** @param non-empty-list<float> $values */
function median(array $values): float
{
    sort($values);
    $middle = intdiv(count($values), 2);
    return count($values) % 2 ? $values[$middle] : ($values[$middle - 1] + $values[$middle]) / 2;
}

function number(float $value, int $decimals = 0): string
{
    return number_format($value, $decimals);
}

function signed(float $value): string
{
    return ($value < 0 ? '-' : '+') . number(abs($value));
}

/** Characters; PHP's mbstring is not among what is installed. */
function width(string $text): int
{
    return preg_match_all('/./us', $text);
}

/** @param list<list<string>> $rows the first is the heading; all columns but the first are to the right */
function table(array $rows): void
{
    $widths = [];
    foreach ($rows as $row) {
        foreach ($row as $column => $cell) {
            $widths[$column] = max($widths[$column] ?? 3, width($cell));
        }
    }
    foreach ($rows as $index => $row) {
        $cells = [];
        foreach ($row as $column => $cell) {
            $blanks = str_repeat(' ', $widths[$column] - width($cell));
            $cells[] = $column === 0 ? $cell . $blanks : $blanks . $cell;
        }
        echo '| ', implode(' | ', $cells), " |\n";
        if ($index === 0) {
            echo '|', implode('|', array_map(fn (int $column, int $width) => $column === 0 ? str_repeat('-', $width + 2) : str_repeat('-', $width + 1) . ':', array_keys($widths), $widths)), "|\n";
        }
    }
    echo "\n";
}

/** @param array<string, string> $failed what could not be measured, and why */
function failures(array $failed): void
{
    foreach ($failed as $what => $error) {
        echo "Failed: $what: $error\n\n";
    }
}

/** @param array<string, array<string, mixed>> $rows */
function latencies(Results $results, array $rows): void
{
    $direct = $rows['tls']['p50'] ?? null;
    $failed = [];
    $table = [['µs', 'p50', 'p90', 'p99', 'least', 'p50 to direct TLS']];
    foreach ($rows as $key => $row) {
        if (isset($row['error'])) {
            $failed[$results->names[$key]] = $row['error'];
        } else {
            $table[] = [$results->names[$key], number($row['p50']), number($row['p90']), number($row['p99']), number($row['min']), $direct ? number($row['p50'] / $direct, 3) : ''];
        }
    }
    table($table);
    failures($failed);
}

/** What endpoint and Router add to a direct TLS connection, and whether the endpoint adds at most half. @return list<string> a row of bars */
function added(array $rows, string $what): array
{
    if (!isset($rows['tls']['p50'], $rows['router-share']['p50'], $rows['endpoint']['p50'])) {
        return [$what, 'not measured', '', 'no'];
    }
    $ours = $rows['endpoint']['p50'] - $rows['tls']['p50'];
    $router = $rows['router-share']['p50'] - $rows['tls']['p50'];
    $ratio = $router > 0 ? ', ratio ' . number($ours / $router, 2) : '';
    return [$what, signed($ours) . ' µs; Router ' . signed($router) . " µs$ratio", '<= 0.5 of Router\'s', holds($ours <= $router / 2)];
}

function holds(bool $does): string
{
    return $does ? 'yes' : '**no**';
}

/** Start and rest. @return array<string, array{list<float>, int, int}> milliseconds to READY=1, KiB, KiB not of files */
function starts(Results $results): array
{
    $starts = [];
    foreach (['agent-health', 'agent-mysql', 'router-share'] as $name) {
        $took = array_map(fn (string $line): float => (int) $line / 1000, $results->lines("ready-$name"));
        if ($took !== []) {
            sort($took);
            $starts[$name] = [$took, ...array_map(intval(...), explode(' ', $results->lines("rest-$name")[0]))];
        }
    }
    return $starts;
}

/** @return list<list<string>> */
function bars(Results $results, array $connect, array $held, array $owners, array $busy, array $idle): array
{
    $bars = [['what', 'found', 'bar', 'holds']];
    $bars[] = added($held, 'point select, one client: added over direct TLS');
    $bars[] = added($owners, 'point select, owners changing: added over direct TLS');
    $bar = function (string $what, ?float $value, int $decimals, string $unit, float $limit, bool $most = true) use (&$bars): void {
        $sign = $most ? '<=' : '>=';
        $bars[] = $value === null
            ? [$what, 'not measured', "$sign $limit$unit", holds(false)]
            : [$what, number($value, $decimals) . $unit, "$sign $limit$unit", holds($most ? $value <= $limit : $value >= $limit)];
    };
    $ratio = fn (array $rows): ?float => isset($rows['endpoint']['p50'], $rows['tls']['p50']) ? $rows['endpoint']['p50'] / $rows['tls']['p50'] : null;
    $bar('a PHP request, p50 to direct TLS', $ratio($connect), 3, '', 0.085);
    $bar('point select, owners changing, p50 to direct TLS', $ratio($owners), 2, '', 1.2);
    [$ours, $plain] = [$busy[64]['endpoint'] ?? '', $busy[64]['tcp'] ?? ''];
    $bar('64 busy clients, queries/s to direct without TLS', is_array($ours) && is_array($plain) ? $ours[0] / $plain[0] : null, 2, '', 0.6, false);
    foreach (['request' => 'round trips to the server beside the statement, per PHP request', 'owners' => 'the same, point select, owners changing'] as $mode => $what) {
        $bar($what, $results->commands($mode, 'endpoint')['extra'] ?? null, 2, '', 0);
    }
    $last = isset($idle['endpoint']['error']) ? null : end($idle['endpoint']['steps']);
    $bar('memory for each idle client', $last ? ($last['rss'] - $idle['endpoint']['steps'][0]['rss']) / $last['clients'] : null, 1, ' KiB', 4);
    if ($last && $last['clients'] === 5000) {
        $bar('memory with 5,000 idle clients', $last['rss'] / 1024, 1, ' MiB', 32);
    }
    $starts = starts($results);
    $bar('start to READY=1, [health] only, p50', isset($starts['agent-health']) ? median($starts['agent-health'][0]) : null, 1, ' ms', 100);
    $bar('start to READY=1, with [mysql], p50', isset($starts['agent-mysql']) ? median($starts['agent-mysql'][0]) : null, 1, ' ms', 100);
    $bar('memory at rest, [health] only', isset($starts['agent-health']) ? $starts['agent-health'][1] / 1024 : null, 1, ' MiB', 16);
    $bar('memory at rest, with [mysql]', isset($starts['agent-mysql']) ? $starts['agent-mysql'][1] / 1024 : null, 1, ' MiB', 16);
    return $bars;
}

$results = new Results($argv[1]);
$about = $results->about;
[$connect, $held, $owners, $busy] = [$results->json('connect'), $results->json('held'), $results->json('owners'), $results->busy()];
$idle = ['endpoint' => $results->json('idle-endpoint'), 'router-share' => $results->json('idle-router-share')];

$command = $about['mode'] === 'full' ? 'make bench' : "benches/run.sh {$about['mode']}";
echo "`$command` on {$about['date']}: {$about['cpu']}, {$about['cores']} cores, Linux {$about['kernel']}; ",
    "other work used {$about['others_before']} % of the cores before the run and {$about['others_after']} % after it",
    max($about['others_before'], $about['others_after']) > OTHERS_MAX ? ' (**not for comparison**)' : '', ".\n",
    "{$about['agent']}; MySQL {$about['mysql']}, MySQL Router {$about['router']}, HAProxy {$about['haproxy']}, PHP {$about['php']}, sysbench {$about['sysbench_version']}.\n\n";

echo "### Bars\n\n";
table(bars($results, $connect, $held, $owners, $busy, $idle));

echo "### A PHP request: connect, log in, one point SELECT, quit ({$about['connects']} times)\n\n";
latencies($results, $connect);
echo "### Point SELECT on a held connection ({$about['selects']} times)\n\n";
latencies($results, $held);
echo "### The same, two clients taking turns: the server connection changes its owner ({$about['selects']} times)\n\n";
latencies($results, $owners);

foreach ($busy as $clients => $keys) {
    echo "### Point SELECT, busy clients: $clients (sysbench, {$about['sysbench']}, medians)\n\n";
    $rows = [['', 'queries/s', 'p95 ms', 'to direct TLS', 'to direct without TLS', 'its CPU, µs a query', 'with MySQL\'s']];
    $failed = [];
    foreach ($keys as $key => $found) {
        if (is_string($found)) {
            $failed["{$results->names[$key]}, $clients clients"] = $found;
            continue;
        }
        [$queries, $p95, $own, $server] = $found;
        $to = fn (string $other): string => is_array($keys[$other] ?? '') ? number($queries / $keys[$other][0], 2) : '';
        $rows[] = [$results->names[$key], number($queries), number($p95, 1), $to('tls'), $to('tcp'), number($own, 1), number($own + $server, 1)];
    }
    table($rows);
    failures($failed);
}

echo "### The server a millisecond away: a PHP request ({$about['far']} times)\n\n";
latencies($results, $results->json('far-connect'));
echo "### The server a millisecond away: point SELECT, two clients taking turns ({$about['far']} times)\n\n";
latencies($results, $results->json('far-owners'));

echo "### Round trips to the server beside the statement (its general log, {$about['counted']} statements, warm pools)\n\n";
$rows = [['', 'for each statement', 'server connections', 'which']];
$failed = [];
foreach (['request' => 'PHP requests', 'owners' => 'two held clients in turn'] as $mode => $what) {
    foreach (['tls', 'router-share', 'endpoint'] as $key) {
        $commands = $results->commands($mode, $key);
        $label = "$what: {$results->names[$key]}";
        if (isset($commands['error'])) {
            $failed[$label] = $commands['error'];
        } else {
            $rows[] = [$label, number($commands['extra'], 2), (string) $commands['connections'], $commands['which']];
        }
    }
}
table($rows);
failures($failed);
echo "`Connect` stands for the four or more round trips of TCP, TLS and login; `Quit` is not waited for and not counted.\n\n";

echo "### Memory of the proxy with idle clients (resident; each client has run one statement)\n\n";
$failed = [];
$rows = [['', 'clients', 'MiB', 'KiB for each client', 'server connections', 'seconds to open']];
foreach ($idle as $key => $result) {
    $none = $result['steps'][0]['rss'];
    foreach ($result['steps'] as $step) {
        $clients = $step['clients'] ?? 0;
        $rows[] = [$results->names[$key], number($clients), number($step['rss'] / 1024, 1), $clients ? number(($step['rss'] - $none) / $clients, 1) : '',
            isset($step['connections']) ? (string) $step['connections'] : '', isset($step['seconds']) ? number($step['seconds'], 1) : ''];
    }
    if (isset($result['error'])) {
        $failed[$results->names[$key]] = $result['error'];
    }
}
table($rows);
failures($failed);

echo "### Start to READY=1, and memory at rest three seconds later ({$about['starts']} starts)\n\n";
$rows = [['', 'ms, p50', 'ms, most', 'MiB', 'of them not of files']];
foreach (starts($results) as $name => [$took, $rss, $anon]) {
    $what = ['agent-health' => 'Lamplighter, [health] only', 'agent-mysql' => 'Lamplighter, with [mysql]', 'router-share' => 'MySQL Router'][$name];
    $rows[] = [$what, number(median($took), 1), number(max($took), 1), number($rss / 1024, 1), number($anon / 1024, 1)];
}
table($rows);
