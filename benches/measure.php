<?php
// Measures endpoints that speak MySQL, as PHP uses them: mysqli with mysqlnd. One mode per call; the result is JSON on standard output.
//
//   measure.php request endpoints=FILE n=N           connect, log in, one point SELECT, quit: what a PHP request does
//   measure.php held    endpoints=FILE n=N           one point SELECT on a connection that is held
//   measure.php owners  endpoints=FILE n=N           the same by two held clients of each endpoint in turn, so that a proxy's server
//                                                    connection changes its owner at every statement
//   measure.php idle    endpoints=FILE pid=PID counts=1000,5000
//                                                    memory of PID while so many clients of the first endpoint are connected; the
//                                                    second endpoint is the server itself
//
// Every turn of the loop visits all endpoints once, so that noise on the machine hits all alike. An endpoint that fails is taken out and
// its error is its result. only=KEY,KEY takes those endpoints, in this order. FILE has lines "key|name|host|port|socket|tls|user|password".

final class Endpoint
{
    public ?string $error = null;
    /** @var list<float> microseconds */
    public array $took = [];

    private function __construct(
        public readonly string $key,
        private readonly string $host,
        private readonly int $port,
        private readonly string $socket,
        private readonly bool $tls,
        private readonly string $user,
        private readonly string $password,
    ) {
    }

    /** @return list<self> */
    public static function all(string $file, ?string $only): array
    {
        $lines = array_filter(explode("\n", file_get_contents($file)));
        $all = [];
        foreach ($lines as $line) {
            [$key, , $host, $port, $socket, $tls, $user, $password] = explode('|', $line);
            $all[$key] = new self($key, $host, (int) $port, $socket, $tls === '1', $user, $password);
        }
        return $only === null ? array_values($all) : array_map(fn (string $key): self => $all[$key], explode(',', $only));
    }

    public function connect(): mysqli
    {
        $link = mysqli_init();
        $link->options(MYSQLI_OPT_CONNECT_TIMEOUT, 20);
        if ($this->tls) {
            $link->ssl_set(null, null, getenv('BENCH_CA'), null, null);
            $link->options(MYSQLI_OPT_SSL_VERIFY_SERVER_CERT, true);
        }
        $link->real_connect(
            $this->host,
            $this->user,
            $this->password,
            'app',
            $this->port,
            $this->socket === '' ? null : $this->socket,
            $this->tls ? MYSQLI_CLIENT_SSL : 0,
        );
        return $link;
    }

    /** Runs $work and keeps its time or, once and for all, its error. */
    public function time(callable $work): void
    {
        if ($this->error !== null) {
            return;
        }
        try {
            $start = hrtime(true);
            $work($this);
            $this->took[] = (hrtime(true) - $start) / 1000;
        } catch (Throwable $error) {
            $this->error = $error->getMessage();
        }
    }

    /** @return array<string, float|int|string> */
    public function result(): array
    {
        if ($this->error !== null) {
            return ['error' => $this->error];
        }
        sort($this->took);
        $count = count($this->took);
        $percentile = fn (float $p): float => round($this->took[min($count - 1, (int) ($count * $p))], 1);
        return ['n' => $count, 'p50' => $percentile(0.5), 'p90' => $percentile(0.9), 'p99' => $percentile(0.99), 'min' => round($this->took[0], 1)];
    }
}

function point_select(mysqli $link, int $turn): void
{
    $id = 1 + $turn * 7919 % 1000;
    $row = $link->query("SELECT v FROM kv WHERE id = $id")->fetch_row();
    if ($row !== ["value-$id"]) {
        throw new RuntimeException("a wrong row for id $id: " . json_encode($row));
    }
}

/** @param list<Endpoint> $endpoints */
function requests(array $endpoints, int $turns): void
{
    for ($turn = 0; $turn < $turns; $turn++) {
        foreach ($endpoints as $endpoint) {
            $endpoint->time(static function (Endpoint $endpoint) use ($turn): void {
                $link = $endpoint->connect();
                point_select($link, $turn);
                $link->close();
            });
        }
    }
}

/** @param list<Endpoint> $endpoints */
function held(array $endpoints, int $turns, int $owners): void
{
    $links = [];
    foreach ($endpoints as $endpoint) {
        $endpoint->time(static function (Endpoint $endpoint) use (&$links, $owners): void {
            for ($owner = 0; $owner < $owners; $owner++) {
                $links[$endpoint->key][$owner] = $endpoint->connect();
            }
        });
    }
    foreach ($endpoints as $endpoint) {
        $endpoint->took = [];
    }
    for ($turn = 0; $turn < $turns; $turn++) {
        foreach ($endpoints as $endpoint) {
            $endpoint->time(static fn (Endpoint $endpoint) => point_select($links[$endpoint->key][$turn % $owners], $turn));
        }
    }
}

/**
 * @param list<int> $counts
 * @return array<string, mixed>
 */
function idle(Endpoint $endpoint, Endpoint $server, int $pid, array $counts): array
{
    $links = [];
    $steps = [memory($pid)];
    foreach ($counts as $count) {
        $start = microtime(true);
        while (count($links) < $count) {
            try {
                $link = $endpoint->connect();
                point_select($link, count($links));
                $links[] = $link;
            } catch (Throwable $error) {
                return ['steps' => $steps, 'error' => count($links) . ' clients, then: ' . $error->getMessage()];
            }
        }
        $seconds = round(microtime(true) - $start, 1);
        // not a wait for something: the memory of a process at rest is asked for
        sleep(2);
        $direct = $server->connect();
        // of this account, so the agent's monitor is not among them
        $connections = (int) $direct->query('SELECT COUNT(*) - 1 FROM performance_schema.processlist')->fetch_row()[0];
        $direct->close();
        $steps[] = ['clients' => $count, 'connections' => $connections, 'seconds' => $seconds] + memory($pid);
    }
    return ['steps' => $steps];
}

/** @return array{rss: int, anon: int} KiB */
function memory(int $pid): array
{
    $status = file_get_contents("/proc/$pid/status");
    $field = static fn (string $name): int => preg_match("/^$name:\s+(\d+) kB/m", $status, $found) ? (int) $found[1] : throw new RuntimeException("no $name of $pid");
    return ['rss' => $field('VmRSS'), 'anon' => $field('RssAnon')];
}

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
$mode = $argv[1] ?? '';
$options = [];
foreach (array_slice($argv, 2) as $word) {
    [$name, $value] = explode('=', $word, 2);
    $options[$name] = $value;
}
$endpoints = Endpoint::all($options['endpoints'], $options['only'] ?? null);
if ($mode === 'idle') {
    $counts = array_map(intval(...), explode(',', $options['counts']));
    $result = idle($endpoints[0], $endpoints[1], (int) $options['pid'], $counts);
} else {
    match ($mode) {
        'request' => requests($endpoints, (int) $options['n']),
        'held' => held($endpoints, (int) $options['n'], 1),
        'owners' => held($endpoints, (int) $options['n'], 2),
    };
    $result = [];
    foreach ($endpoints as $endpoint) {
        $result[$endpoint->key] = $endpoint->result();
    }
}
echo json_encode($result, JSON_PRETTY_PRINT | JSON_THROW_ON_ERROR), "\n";
