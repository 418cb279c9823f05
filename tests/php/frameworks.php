<?php
// predis, Laravel's cache, locks and Redis facade, and Symfony's cache, each from Debian's package and configured as
// packaging/php/README.md says, through the socket in SOCKET. Prints the name of each that did what it should.
error_reporting(E_ALL & ~E_DEPRECATED);
require 'Predis/autoload.php';
require 'Illuminate/Redis/autoload.php';
require 'Illuminate/Cache/autoload.php';
require 'Illuminate/Support/autoload.php';
require 'Symfony/Component/Cache/autoload.php';

function check(string $what, $seen, $wanted): void
{
    if ($seen !== $wanted) {
        fwrite(STDERR, "$what: " . var_export($seen, true) . ' instead of ' . var_export($wanted, true) . "\n");
        exit(1);
    }
}

function predis(string $socket): void
{
    $client = new Predis\Client(['scheme' => 'unix', 'path' => $socket]);
    check('SET', (string) $client->set('predis:k', 'v', 'EX', 60), 'OK');
    check('GET', $client->get('predis:k'), 'v');
    check('a missing key', $client->get('predis:none'), null);
    $replies = $client->pipeline(function ($pipe) {
        for ($i = 0; $i < 100; $i++) {
            $pipe->incr('predis:n');
        }
    });
    check('a pipeline', $replies, range(1, 100));
    check('a transaction', $client->transaction()->incr('predis:n')->get('predis:k')->execute(), [101, 'v']);
    check('a hash', [$client->hset('predis:h', 'f', 'x'), $client->hgetall('predis:h')], [1, ['f' => 'x']]);
    $found = iterator_to_array(new Predis\Collection\Iterator\Keyspace($client, 'predis:*'), false);
    sort($found);
    check('SCAN', $found, ['predis:h', 'predis:k', 'predis:n']);
    check('EVAL', $client->eval('return ARGV[1]', 1, 'predis:k', 'x'), 'x');
}

function laravel(string $socket): void
{
    $options = ['prefix' => 'shop:'];
    $connection = ['host' => $socket, 'port' => 0, 'password' => null, 'database' => 0];
    $unix = ['scheme' => 'unix', 'path' => $socket, 'password' => null, 'database' => 0];
    foreach (['phpredis' => $connection, 'predis' => $unix] as $client => $default) {
        $redis = new Illuminate\Redis\RedisManager(null, $client, ['options' => $options, 'default' => $default]);
        $store = new Illuminate\Cache\RedisStore($redis, 'cache:', 'default');
        $cache = new Illuminate\Cache\Repository($store);
        $value = ['name' => 'é', 'price' => 1.5, 'none' => null];
        check("$client: remember", $cache->remember("k$client", 60, fn () => $value), $value);
        check("$client: remembered", $cache->get("k$client"), $value);
        check("$client: many", $cache->many(["k$client", 'absent']), ["k$client" => $value, 'absent' => null]);
        check("$client: add", [$cache->add("a$client", 1, 60), $cache->add("a$client", 2, 60)], [true, false]);
        check("$client: increment", $cache->increment("i$client", 5), 5);
        $lock = $store->lock("l$client", 10);
        check("$client: a lock", [$lock->get(), $store->lock("l$client", 10)->get(), $lock->release()], [true, false, true]);
        $tagged = $cache->tags(['products']);
        $tagged->put('t', 'tagged', 60);
        check("$client: a tag", $tagged->get('t'), 'tagged');
        $tagged->flush();
        check("$client: a flushed tag", $tagged->get('t'), null);
        check("$client: forget", [$cache->forget("k$client"), $cache->get("k$client")], [true, null]);
        check("$client: the connection", $redis->connection()->transaction(fn ($t) => $t->set('x', 1))[0] == true, true);
    }
}

function symfony(string $socket): void
{
    $redis = Symfony\Component\Cache\Adapter\RedisAdapter::createConnection("redis://$socket");
    $cache = new Symfony\Component\Cache\Adapter\RedisAdapter($redis, 'shop');
    $value = $cache->get('k', function ($item) {
        $item->expiresAfter(60);
        return ['a' => 1];
    });
    check('get', $value, ['a' => 1]);
    check('got', $cache->get('k', fn () => 'computed again'), ['a' => 1]);
    $item = $cache->getItem('b')->set(str_repeat("\0\xff", 1000));
    check('deferred', [$cache->saveDeferred($item), $cache->commit()], [true, true]);
    check('items', count(array_filter([...$cache->getItems(['k', 'b', 'c'])], fn ($item) => $item->isHit())), 2);
    check('delete', [$cache->deleteItem('k'), $cache->hasItem('k')], [true, false]);
    check('clear its own', [$cache->clear(), $cache->hasItem('b')], [true, false]);
}

foreach (['predis', 'laravel', 'symfony'] as $framework) {
    $framework(getenv('SOCKET'));
    echo "$framework\n";
}
