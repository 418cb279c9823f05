<?php
/**
 * Cache-aside on Redis without a stampede: one caller computes a missing value while the others wait a moment or get the old one, and
 * values that are about to end are computed early by a few (XFetch: Vattani, Chierichetti, Lowenstein, VLDB 2015). No dependency but a
 * client that has get(), set() with options and eval(), as phpredis has; through the agent's socket or any other way.
 *
 *     $cache = new LamplighterCache($redis, 'shop:');
 *     $product = $cache->getOrSet("product:$id", 300, fn () => load_product($id));
 *     $cache->delete("product:$id");       // after COMMIT
 */
final class LamplighterCache
{
    /** Writes only for the holder of the lease, and gives the lease back. A delete() meanwhile has taken the lease away. */
    private const FILL = "if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
        redis.call('DEL', KEYS[2])
        redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
        return 1";

    private $redis;
    private string $prefix;
    private float $beta;
    private int $leaseMs;
    private int $waitMs;
    private int $graceSeconds;

    /**
     * @param object $redis        a connected client; its serializer is not used
     * @param string $prefix       in front of every key
     * @param float  $beta         above 1: early refresh sooner, 0: never
     * @param int    $leaseMs      how long computing a value may take before somebody else tries
     * @param int    $waitMs       how long others wait for a value that is missing altogether
     * @param int    $graceSeconds how long after its end a value may still be given to those who would wait
     */
    public function __construct($redis, string $prefix = '', float $beta = 1.0, int $leaseMs = 5000, int $waitMs = 200, int $graceSeconds = 60)
    {
        $this->redis = $redis;
        $this->prefix = $prefix;
        $this->beta = $beta;
        $this->leaseMs = $leaseMs;
        $this->waitMs = $waitMs;
        $this->graceSeconds = $graceSeconds;
    }

    /** The value of $key, or what $compute returns, which is then kept for $ttl seconds. Without Redis it is computed every time. */
    public function getOrSet(string $key, int $ttl, callable $compute)
    {
        [$key, $lease] = $this->names($key);
        $found = $this->read($key);
        if ($found !== null && !$this->isDue($found)) {
            return $found['v'];
        }
        $mine = bin2hex(random_bytes(8));
        $held = $this->attempt(fn () => $this->redis->set($lease, $mine, ['nx', 'px' => $this->leaseMs]));
        if ($held === false) {
            // somebody computes it already
            if ($found !== null) {
                return $found['v'];
            }
            $until = microtime(true) + $this->waitMs / 1000;
            do {
                usleep(10000);
                $found = $this->read($key);
                if ($found !== null) {
                    return $found['v'];
                }
            } while (microtime(true) < $until);
        }
        $started = microtime(true);
        $value = $compute();
        $took = microtime(true) - $started;
        if ($held === true) {
            $stored = serialize(['v' => $value, 'e' => microtime(true) + $ttl, 'd' => $took]);
            $life = ($ttl + $this->graceSeconds) * 1000;
            $this->attempt(fn () => $this->redis->eval(self::FILL, [$key, $lease, $mine, $stored, $life], 2));
        }
        return $value;
    }

    /** Forgets a key; whoever is computing it from what was before does not write it any more. To be called after COMMIT. */
    public function delete(string $key): void
    {
        $this->attempt(fn () => $this->redis->del($this->names($key)));
    }

    /** The key and its lease, in the same slot of a cluster. */
    private function names(string $key): array
    {
        $key = $this->prefix . $key;
        return [$key, preg_match('/\{[^}]+\}/', $key) ? "lease:$key" : "lease:{{$key}}"];
    }

    private function read(string $key): ?array
    {
        $text = $this->attempt(fn () => $this->redis->get($key));
        $found = is_string($text) ? @unserialize($text) : null;
        return is_array($found) && isset($found['e'], $found['d']) && array_key_exists('v', $found) ? $found : null;
    }

    /** Ended, or close enough to its end for this caller, by chance, to be the one who computes it early. */
    private function isDue(array $found): bool
    {
        $luck = (mt_rand() + 1) / (mt_getrandmax() + 1);
        return microtime(true) - $found['d'] * $this->beta * log($luck) >= $found['e'];
    }

    /** What Redis says, or null if it cannot be asked: a cache that is away is no error of the page. */
    private function attempt(callable $ask)
    {
        try {
            return $ask();
        } catch (Exception $e) {
            return null;
        }
    }
}
