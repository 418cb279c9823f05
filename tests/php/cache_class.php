<?php
// The class of packaging/php through the endpoint; prints "done" when all is as expected.

require getenv('CLASS_FILE');

function check($what, $seen, $wanted) {
    if ($seen !== $wanted) {
        echo "$what: ", var_export($seen, true), ' instead of ', var_export($wanted, true), "\n";
    }
}

$r = new Redis();
$r->connect(getenv('SOCKET'));
$cache = new LamplighterCache($r, 'app:', 1.0, 5000, 100);
$computed = 0;
$compute = function () use (&$computed) {
    return ['n' => ++$computed, 'null' => null];
};
check('first', $cache->getOrSet('k', 100, $compute), ['n' => 1, 'null' => null]);
check('second', $cache->getOrSet('k', 100, $compute), ['n' => 1, 'null' => null]);
check('false is a value', [$cache->getOrSet('f', 100, fn () => false), $cache->getOrSet('f', 100, $compute)], [false, false]);
$cache->delete('k');
check('after delete', $cache->getOrSet('k', 100, $compute)['n'], 2);
// deleted while it was computed: given to the one who computed it, but not kept
$cache->delete('k');
check('stale', $cache->getOrSet('k', 100, function () use ($cache) {
    $cache->delete('k');
    return 'old';
}), 'old');
check('and not kept', $r->exists('app:k'), 0);
// ended: whoever does not get the lease gets the old value
$cache->getOrSet('s', 0, fn () => 'old');
$r->set('lease:{app:s}', 'another', ['px' => 5000]);
check('grace', $cache->getOrSet('s', 100, $compute), 'old');
// missing and held by another: waits, then computes for itself
$r->set('lease:{app:w}', 'another', ['px' => 5000]);
$started = microtime(true);
check('in vain', $cache->getOrSet('w', 100, fn () => 'own'), 'own');
check('it waited', microtime(true) - $started >= 0.09, true);
check('and wrote nothing', $r->exists('app:w'), 0);
// without Redis
$away = new LamplighterCache(new Redis());
check('away', @$away->getOrSet('k', 100, fn () => 'computed'), 'computed');
echo "done\n";
