<?php
// WordPress of Debian's package (WORDPRESS is its folder), its tables in MySQL through the socket MYSQL_SOCKET, its object cache the drop-in of
// packaging/php through the socket in LAMPLIGHTER_REDIS; CONTENT is its wp-content. STEP is what it does:
//   install  makes the tables and a post
//   read     a request that shows the post and the options; prints how many queries that took
//   cache    what wp_cache_* promise
error_reporting(E_ALL & ~E_DEPRECATED);
$_SERVER += ['HTTP_HOST' => 'shop.test', 'REQUEST_URI' => '/', 'SERVER_PROTOCOL' => 'HTTP/1.1', 'REQUEST_METHOD' => 'GET'];
$step = getenv('STEP');
define('ABSPATH', getenv('WORDPRESS') . '/');
define('WP_CONTENT_DIR', getenv('CONTENT'));
define('DB_HOST', 'localhost:' . getenv('MYSQL_SOCKET'));
define('DB_NAME', 'wordpress');
define('DB_USER', 'web');
define('DB_PASSWORD', '');
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
define('LAMPLIGHTER_REDIS', getenv('LAMPLIGHTER_REDIS'));
define('WP_HTTP_BLOCK_EXTERNAL', true);
define('DISABLE_WP_CRON', true);
$step !== 'install' || define('WP_INSTALLING', true);
$table_prefix = 'wp_';

function wp_new_blog_notification(): void // it would send an email
{
}

function check(string $what, $seen, $wanted): void
{
    if ($seen !== $wanted) {
        fwrite(STDERR, "$what: " . var_export($seen, true) . ' instead of ' . var_export($wanted, true) . "\n");
        exit(1);
    }
}

function install(): void
{
    require ABSPATH . 'wp-admin/includes/upgrade.php';
    wp_install('Köln Shop', 'admin', 'admin@shop.test', true, '', 'secret');
    $post = wp_insert_post(['post_title' => 'Größe "L"', 'post_content' => 'blau', 'post_status' => 'publish', 'meta_input' => ['price' => '9.50']], true);
    check('a post', is_int($post), true);
    update_option('post_of_the_test', $post);
}

function read(): void
{
    check('an object cache of its own', wp_using_ext_object_cache(), true);
    check('an option', get_option('blogname'), 'Köln Shop');
    $post = get_post(get_option('post_of_the_test'));
    check('the post', [$post->post_title, get_post_meta($post->ID, 'price', true)], ['Größe "L"', '9.50']);
    check('the author', get_userdata($post->post_author ?: 1)->user_login, 'admin');
    echo $GLOBALS['wpdb']->num_queries;
}

function cache(): void
{
    $values = ['int' => 7, 'digits' => '7', 'float' => 1.5, 'false' => false, 'null' => null, 'list' => [1, 'a' => 'ü'], 'object' => (object) ['a' => 1]];
    check('set', array_unique(wp_cache_set_multiple($values, 'test')), ['int' => true]);
    wp_cache_flush_runtime();
    check('what was set', serialize(wp_cache_get_multiple(array_keys($values), 'test')), serialize($values));
    check('false is there', [wp_cache_get('false', 'test', true, $found), $found], [false, true]);
    check('what is not', [wp_cache_get('none', 'test', false, $found), $found], [false, false]);
    check('add', [wp_cache_add('int', 8, 'test'), wp_cache_add('new', 1, 'test', 60), wp_cache_add('new', 2, 'test')], [false, true, false]);
    check('replace', [wp_cache_replace('none', 1, 'test'), wp_cache_replace('int', 9, 'test')], [false, true]);
    check('counting', [wp_cache_incr('int', 2, 'test'), wp_cache_decr('int', 100, 'test'), wp_cache_incr('none', 1, 'test')], [11, 0, false]);
    check('delete', [wp_cache_delete('int', 'test'), wp_cache_delete('int', 'test'), wp_cache_get('int', 'test')], [true, false, false]);
    set_transient('t', ['x'], 60);
    wp_cache_flush_runtime();
    check('a transient', get_transient('t'), ['x']);
    wp_cache_add_non_persistent_groups('mine');
    wp_cache_set('k', 'here', 'mine');
    wp_cache_flush_runtime();
    check('a group of this request', wp_cache_get('k', 'mine'), false);
    check('flush', [wp_cache_flush(), get_transient('t'), wp_cache_get('digits', 'test')], [true, false, false]);
}

require ABSPATH . 'wp-settings.php';
$step();
