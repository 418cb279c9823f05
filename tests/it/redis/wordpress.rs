//! WordPress as Debian has it, whose tables and objects are behind the agent's two sockets.

use crate::cache::agent::{agent, without_jobs};
use crate::cache::{SOON, tls_redis};
use crate::support::mysql::{self, APP};
use crate::support::scratch::Scratch;
use crate::support::{php, poll, programs};
use crate::tidy;

#[test]
fn its_tables_are_in_mysql_and_its_objects_in_redis_and_pages_go_on_without_redis() {
    let (redis, mysql) = (tls_redis(), mysql::shared());
    let schema = format!(
        "CREATE DATABASE wordpress; GRANT ALL ON wordpress.* TO {}@'%'",
        APP.0
    );
    mysql.sql(mysql.primary(), &schema);
    let (text, _) = without_jobs(mysql, &redis);
    let peers = format!("\"{}\", \"www-data\"", rustix::process::getuid().as_raw());
    let listen = "[redis]\nlisten = [\"unix:{dir}/redis.sock\"]";
    let text = text
        .replace("\"www-data\"", &peers)
        .replace("[redis]", listen);
    let agent = agent(&text);
    let folder = programs::find_cached("wordpress/usr/share/wordpress", "wordpress");
    let content = Scratch::new("wordpress");
    let drop_in = tidy::root().join("packaging/php/object-cache.php");
    content.write("object-cache.php", std::fs::read(drop_in).unwrap());
    let path = |path: &std::path::Path| path.display().to_string();
    let (mysql_socket, redis_socket) = (
        path(&agent.dir().join("mysql.sock")),
        path(&agent.dir().join("redis.sock")),
    );
    let (folder, content) = (path(&folder), path(content.path()));
    let request = |step: &str| {
        let env = [
            ("STEP", step),
            ("WORDPRESS", &folder),
            ("CONTENT", &content),
            ("MYSQL_SOCKET", &mysql_socket),
            ("LAMPLIGHTER_REDIS", &redis_socket),
        ];
        php::run("wordpress.php", &env).expect_ok()
    };
    let queries = || request("read").parse::<u32>().unwrap();
    redis.cli(&["SET", "other", "x"]);
    request("install");
    request("cache");
    let cold = queries();
    let warm = queries();
    assert!(cold > 4 && warm == 0, "{cold} queries, then {warm}");
    assert_eq!(redis.cli(&["GET", "other"]), "x", "flushed with the rest");
    redis.kill();
    poll::until(SOON, "pages without Redis", || {
        let seen = queries();
        (seen >= cold).then_some(()).ok_or(seen)
    });
}
