<?php
// Ordinary use of phpredis through the endpoint, nothing configured but the socket; prints "done" when all is as expected.

function check($what, $seen, $wanted) {
    if ($seen !== $wanted) {
        echo "$what: ", var_export($seen, true), ' instead of ', var_export($wanted, true), "\n";
    }
}

$socket = getenv('SOCKET');
$r = new Redis();
check('connect', $r->connect($socket), true);
check('auth is not needed and does no harm', $r->auth('whatever'), true);
check('select', $r->select(0), true);
check('ping', $r->ping(), true);
check('set', $r->set('php:a', 'b'), true);
check('get', $r->get('php:a'), 'b');
check('setex', $r->setex('php:t', 100, 'x'), true);
check('ttl', $r->ttl('php:t') > 90, true);
check('mset', $r->mset(['php:1' => 'one', 'php:2' => 'two']), true);
check('mget', $r->mget(['php:1', 'php:none', 'php:2']), ['one', false, 'two']);
check('nx', $r->set('php:a', 'c', ['nx', 'ex' => 10]), false);
check('pipeline', $r->pipeline()->set('php:p', 1)->incr('php:p')->get('php:p')->exec(), [true, 2, '2']);
check('multi', $r->multi()->set('php:m', 5)->decr('php:m')->exec(), [true, 4]);
check('watch', $r->watch('php:m'), true);
check('exec under watch', $r->multi()->incr('php:m')->exec(), [5]);
$other = new Redis();
$other->connect($socket);
$r->watch('php:m');
$other->set('php:m', 9);
check('exec of a changed key', $r->multi()->incr('php:m')->exec(), false);
check('eval', $r->eval('return {KEYS[1], ARGV[1]}', ['php:k', 'v'], 1), ['php:k', 'v']);
$sha = $r->script('load', 'return 7');
check('evalsha', $r->evalSha($sha), 7);
check('evalsha of nothing', $r->evalSha(str_repeat('0', 40)), false);
check('its error', strpos($r->getLastError(), 'NOSCRIPT'), 0);
$r->clearLastError();
check('hash', [$r->hMSet('php:h', ['a' => 1, 'b' => 2]), $r->hGetAll('php:h')], [true, ['a' => '1', 'b' => '2']]);
check('list', [$r->rPush('php:l', 'x', 'y'), $r->blPop('php:l', 1)], [2, ['php:l', 'x']]);
check('zset', [$r->zAdd('php:z', 1.5, 'm'), $r->zScore('php:z', 'm')], [1, 1.5]);
$found = [];
$cursor = null;
$r->setOption(Redis::OPT_SCAN, Redis::SCAN_RETRY);
while ($keys = $r->scan($cursor, 'php:*')) {
    $found = array_merge($found, $keys);
}
check('scan', count($found) > 8, true);
check('refused', $r->flushAll(), false);
check('the reason', strpos($r->getLastError(), 'FLUSHALL is refused') !== false, true);
check('and on it goes', $r->get('php:a'), 'b');
$r->setOption(Redis::OPT_SERIALIZER, Redis::SERIALIZER_PHP);
$value = ['id' => 7, 'name' => "\u{e9}\0", 'n' => null, 'f' => 0.1];
check('serializer', [$r->set('php:s', $value), $r->get('php:s')], [true, $value]);
$p = new Redis();
check('pconnect', $p->pconnect($socket, 0, 1.0, 'id'), true);
check('binary', [$p->set('php:bin', "\r\n\0\xff"), $p->get('php:bin')], [true, "\r\n\0\xff"]);
$large = str_repeat('0123456789abcdef', 4 << 16);
check('4 MiB', [$p->set('php:big', $large), $p->get('php:big') === $large], [true, true]);
check('unlink', $p->unlink('php:big', 'php:bin', 'php:none'), 2);
echo "done\n";
