<?php
/**
 * WordPress' object cache in Redis, through the agent's socket. Copy it to wp-content/object-cache.php; nothing else is needed, and no
 * plugin. In wp-config.php may stand
 *
 *     define('LAMPLIGHTER_REDIS', '/run/lamplighter/redis.sock');   // the socket; this is the default
 *     define('LAMPLIGHTER_CACHE_PREFIX', 'shop:');                  // of this site; its table prefix by default
 *     define('LAMPLIGHTER_CACHE_TTL', 86400);                       // seconds that an entry lives that has no end of its own
 *
 * A page never fails for it: without Redis each request has a cache of its own, as WordPress has by itself. wp_cache_flush() forgets this
 * site's entries alone, by a number that is part of every key; what it left behind ends by itself. Needs phpredis and WordPress 6.0 or later.
 */
defined('ABSPATH') || exit;

final class Lamplighter_Object_Cache
{
    private const GLOBAL_GROUPS = ['blog-details', 'blog-id-cache', 'blog-lookup', 'global-posts', 'networks', 'rss', 'site-details',
        'site-lookup', 'site-options', 'site-transient', 'sites', 'useremail', 'userlogins', 'usermeta', 'users', 'userslugs'];

    private ?Redis $redis = null;
    private string $prefix;
    private int $ttl;
    private int $blog;
    /** Grows with every flush. */
    private string $era = '';
    /** What this request has seen: values by key, false for what is not there. */
    private array $seen = [];
    private array $global;
    private array $local = ['counts' => true, 'plugins' => true, 'themes' => true];

    public function __construct()
    {
        global $table_prefix;
        $this->prefix = defined('LAMPLIGHTER_CACHE_PREFIX') ? LAMPLIGHTER_CACHE_PREFIX : (string) $table_prefix;
        $this->ttl = defined('LAMPLIGHTER_CACHE_TTL') ? LAMPLIGHTER_CACHE_TTL : 86400;
        $this->blog = function_exists('is_multisite') && is_multisite() ? get_current_blog_id() : 0;
        $this->global = array_fill_keys(self::GLOBAL_GROUPS, true);
        $socket = defined('LAMPLIGHTER_REDIS') ? LAMPLIGHTER_REDIS : '/run/lamplighter/redis.sock';
        try {
            $this->redis = new Redis();
            $this->redis->connect($socket, 0, 1, null, 0, 5);
            $this->era = (string) $this->redis->get("{$this->prefix}era");
        } catch (Throwable $e) {
            $this->redis = null;
        }
    }

    public function add($key, $value, string $group, int $expire): bool
    {
        $name = $this->name($key, $group);
        if (isset($this->seen[$name]) || wp_suspend_cache_addition()) {
            return false;
        }
        if ($this->write($name, $value, $group, $expire, ['nx']) === false) {
            return false;
        }
        $this->seen[$name] = [$value];
        return true;
    }

    public function replace($key, $value, string $group, int $expire): bool
    {
        $this->get($key, $group, false, $found);
        return $found && $this->set($key, $value, $group, $expire);
    }

    public function set($key, $value, string $group, int $expire): bool
    {
        $name = $this->name($key, $group);
        $this->seen[$name] = [is_object($value) ? clone $value : $value];
        return $this->write($name, $value, $group, $expire, []) !== false;
    }

    /** All values in one round trip. */
    public function set_multiple(array $values, string $group, int $expire): array
    {
        $pipe = $this->shared($group) ? $this->attempt(fn () => $this->redis->pipeline()) : null;
        $done = array_map(fn ($key) => $this->set($key, $values[$key], $group, $expire), array_keys($values));
        $pipe && $this->attempt(fn () => $this->redis->exec());
        return array_combine(array_keys($values), $done);
    }

    public function get($key, string $group, bool $force, ?bool &$found = null)
    {
        return $this->get_multiple([$key], $group, $force, $found)[$key];
    }

    /** All that this request has not seen yet, in one round trip. */
    public function get_multiple(array $keys, string $group, bool $force, ?bool &$found = null): array
    {
        $names = array_map(fn ($key) => $this->name($key, $group), $keys);
        $ask = array_values(array_filter($names, fn ($name) => $force || !isset($this->seen[$name])));
        if ($ask && $this->shared($group)) {
            $texts = $this->attempt(fn () => $this->redis->mget($ask)) ?: [];
            foreach ($texts as $at => $text) {
                $this->seen[$ask[$at]] = $text === false ? null : [$this->value($text)];
            }
        }
        $values = [];
        foreach ($names as $at => $name) {
            $found = isset($this->seen[$name]);
            $value = $found ? $this->seen[$name][0] : false;
            $values[$keys[$at]] = is_object($value) ? clone $value : $value;
        }
        return $values;
    }

    public function delete_multiple(array $keys, string $group): array
    {
        $names = array_map(fn ($key) => $this->name($key, $group), $keys);
        $here = array_map(fn ($name) => isset($this->seen[$name]), $names);
        $this->seen = array_diff_key($this->seen, array_flip($names));
        $deleted = $names && $this->shared($group) ? $this->attempt(fn () => $this->redis->del($names)) : 0;
        return array_combine($keys, array_map(fn ($was) => $was || $deleted > 0, $here));
    }

    /** As WordPress does it: only what is there, and never below zero. */
    public function add_number($key, int $offset, string $group)
    {
        $value = $this->get($key, $group, true, $found);
        if (!$found) {
            return false;
        }
        $name = $this->name($key, $group);
        $sum = is_int($value) && $this->shared($group) ? $this->attempt(fn () => $this->redis->incrBy($name, $offset)) : null;
        $number = max(0, $sum ?? (is_numeric($value) ? (int) $value : 0) + $offset);
        if ($sum === $number) {
            $this->seen[$name] = [$number];
        } else {
            $this->set($key, $number, $group, 0);
        }
        return $number;
    }

    public function flush(): bool
    {
        $this->flush_runtime();
        if (!$this->redis) {
            return true;
        }
        $era = $this->attempt(fn () => $this->redis->incr("{$this->prefix}era"));
        $this->era = (string) ($era ?? $this->era);
        return $era !== null;
    }

    public function flush_runtime(): bool
    {
        $this->seen = [];
        return true;
    }

    public function add_groups(string $kind, $groups): void
    {
        $this->$kind += array_fill_keys((array) $groups, true);
    }

    public function switch_to_blog(int $blog): void
    {
        $this->blog = is_multisite() ? $blog : 0;
    }

    private function shared(string $group): bool
    {
        return $this->redis && !isset($this->local[$group]);
    }

    private function name($key, string $group): string
    {
        $group = $group ?: 'default';
        return "{$this->prefix}{$this->era}:" . (isset($this->global[$group]) ? '' : $this->blog) . ":$group:$key";
    }

    /** Whole numbers stand there as they are, so that Redis can count; false if it was not written. */
    private function write(string $name, $value, string $group, int $expire, array $options)
    {
        if (!$this->shared($group)) {
            return true;
        }
        $text = is_int($value) ? $value : serialize($value);
        return $this->attempt(fn () => $this->redis->set($name, $text, $options + ['ex' => $expire > 0 ? $expire : $this->ttl]));
    }

    private function value(string $text)
    {
        return preg_match('/^-?\d+$/', $text) ? (int) $text : unserialize($text);
    }

    /** What Redis says, or null if it cannot be asked. */
    private function attempt(callable $ask)
    {
        try {
            return $ask();
        } catch (Exception $e) {
            return null;
        }
    }
}

function wp_cache_init()
{
    $GLOBALS['wp_object_cache'] = new Lamplighter_Object_Cache();
}

function wp_cache_add($key, $data, $group = '', $expire = 0)
{
    return $GLOBALS['wp_object_cache']->add($key, $data, $group, (int) $expire);
}

function wp_cache_add_multiple(array $data, $group = '', $expire = 0)
{
    $added = array_map(fn ($key) => wp_cache_add($key, $data[$key], $group, $expire), array_keys($data));
    return array_combine(array_keys($data), $added);
}

function wp_cache_replace($key, $data, $group = '', $expire = 0)
{
    return $GLOBALS['wp_object_cache']->replace($key, $data, $group, (int) $expire);
}

function wp_cache_set($key, $data, $group = '', $expire = 0)
{
    return $GLOBALS['wp_object_cache']->set($key, $data, $group, (int) $expire);
}

function wp_cache_set_multiple(array $data, $group = '', $expire = 0)
{
    return $GLOBALS['wp_object_cache']->set_multiple($data, $group, (int) $expire);
}

function wp_cache_get($key, $group = '', $force = false, &$found = null)
{
    return $GLOBALS['wp_object_cache']->get($key, $group, $force, $found);
}

function wp_cache_get_multiple($keys, $group = '', $force = false)
{
    return $GLOBALS['wp_object_cache']->get_multiple($keys, $group, $force);
}

function wp_cache_delete($key, $group = '')
{
    return $GLOBALS['wp_object_cache']->delete_multiple([$key], $group)[$key];
}

function wp_cache_delete_multiple(array $keys, $group = '')
{
    return $GLOBALS['wp_object_cache']->delete_multiple($keys, $group);
}

function wp_cache_incr($key, $offset = 1, $group = '')
{
    return $GLOBALS['wp_object_cache']->add_number($key, (int) $offset, $group);
}

function wp_cache_decr($key, $offset = 1, $group = '')
{
    return $GLOBALS['wp_object_cache']->add_number($key, -(int) $offset, $group);
}

function wp_cache_flush()
{
    return $GLOBALS['wp_object_cache']->flush();
}

function wp_cache_flush_runtime()
{
    return $GLOBALS['wp_object_cache']->flush_runtime();
}

function wp_cache_supports($feature)
{
    return in_array($feature, ['add_multiple', 'set_multiple', 'get_multiple', 'delete_multiple', 'flush_runtime'], true);
}

function wp_cache_add_global_groups($groups)
{
    $GLOBALS['wp_object_cache']->add_groups('global', $groups);
}

function wp_cache_add_non_persistent_groups($groups)
{
    $GLOBALS['wp_object_cache']->add_groups('local', $groups);
}

function wp_cache_switch_to_blog($blog)
{
    $GLOBALS['wp_object_cache']->switch_to_blog((int) $blog);
}

function wp_cache_close()
{
    return true;
}
