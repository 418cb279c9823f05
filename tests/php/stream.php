<?php
// A client that asks Redis without a pause until the file `enough` is there, and minds the order of the answers: nothing may be lost,
// done twice, or answered to another. The environment names the agent's directory, the client's own key and its manner; the file
// KEY.count says how far it is.
[$dir, $key, $manner] = [getenv('AGENT'), getenv('KEY'), getenv('MANNER')];
$r = new Redis();
$r->connect("$dir/redis.sock");

/** The counter's next ten values, each by a command of its own in one pipeline, with the client's name between them. */
function pipeline(Redis $r, string $key): array {
    $p = $r->multi(Redis::PIPELINE);
    for ($i = 0; $i < 10; $i++) {
        $p->incr($key);
        $p->echo("$key-$i");
    }
    return $p->exec();
}

/** The same under WATCH, for which a connection is the client's own. */
function watched(Redis $r, string $key): array {
    $r->watch("$key-watched");
    $t = $r->multi();
    for ($i = 0; $i < 10; $i++) {
        $t->incr($key);
        $t->echo("$key-$i");
    }
    return $t->exec();
}

for ($n = 0; !file_exists("$dir/enough"); $n += 10, clearstatcache()) {
    $wanted = [];
    for ($i = 0; $i < 10; $i++) {
        array_push($wanted, $n + $i + 1, "$key-$i");
    }
    $found = $manner($r, $key);
    if ($found !== $wanted) {
        fwrite(STDERR, "after $n: " . json_encode($found) . "\n");
        exit(1);
    }
    file_put_contents("$dir/$key.count", (string) ($n + 10));
    usleep(2000);
}
echo 'whole';
