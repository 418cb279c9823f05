<?php
// A page of an application that uses everything the agent serves, as JSON: what it read and wrote in MySQL, found in Redis and in a
// file, and how long the cache took. The environment names the agent's directory.
mysqli_report(MYSQLI_REPORT_OFF);
$dir = getenv('AGENT');

function sql(string $sql): string {
    global $dir;
    $c = @new mysqli('localhost', 'web', '', 'app', 0, "$dir/mysql.sock");
    if ($c->connect_errno) {
        return "error $c->connect_errno: $c->connect_error";
    }
    $r = $c->query($sql);
    if ($r === false) {
        return "error $c->errno: $c->error";
    }
    return $r === true ? 'done' : (string) $r->fetch_row()[0];
}

function cached(string $key): string {
    global $dir;
    try {
        $r = new Redis();
        $r->connect("$dir/redis.sock");
        $value = $r->get($key);
        return $value === false && $r->getLastError() ? 'error: ' . $r->getLastError() : (string) $value;
    } catch (RedisException $e) {
        return 'error: ' . $e->getMessage();
    }
}

$page = ['read' => sql('SELECT v FROM kv WHERE id = 1'), 'write' => sql('UPDATE visits SET n = n + 1 WHERE id = 1')];
$start = hrtime(true);
$page['cache'] = cached('greeting');
$page['cache_ms'] = (hrtime(true) - $start) / 1e6;
$page['file'] = (string) @file_get_contents("$dir/tree/a.txt");
header('Content-Type: application/json');
echo json_encode($page);
