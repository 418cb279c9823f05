//! Packets to and from the server compressed, as `mysql.compression` says.

use crate::endpoint::{Options, start, start_on_mariadb};
use crate::support::mariadb::MariaDb;
use crate::support::mysql::Cluster;

/// Results and parameters that compress well and not at all, one of them in several packets; many small ones; several at once.
const BOTH_WAYS: &str = "$l = endpoint();
    $l->query('DROP TABLE IF EXISTS big');
    $l->query('CREATE TABLE big (id INT PRIMARY KEY, b LONGBLOB)');
    foreach ([random_bytes(300000) . str_repeat('lamp', 20000), random_bytes(70000), ''] as $id => $text) {
        $s = $l->prepare('INSERT INTO big VALUES (?, ?)');
        $s->bind_param('is', $id, $text);
        $s->execute();
        same(hash('sha256', $text), one($l, \"SELECT SHA2(b, 256) FROM big WHERE id = $id\"), \"parameter $id\");
        same(md5($text), md5(one($l, \"SELECT b FROM big WHERE id = $id\")), \"result $id\");
    }
    $s = $l->prepare('SELECT LENGTH(?)');
    $text = str_repeat('x', 17 << 20);
    $s->bind_param('s', $text);
    $s->execute();
    same(17 << 20, $s->get_result()->fetch_row()[0], 'a parameter of several packets');
    same($text, one($l, 'SELECT REPEAT(\"x\", 17 << 20)'), 'a result of several packets');
    $m = endpoint();
    same(strval(3 << 20), one($m, \"SELECT LENGTH('\" . str_repeat('text', 3 << 18) . \"')\"), 'a long text');
    $m->close();
    for ($i = 1; $i <= 100; $i++) same(\"value-$i\", one($l, \"SELECT v FROM kv WHERE id = $i\"), \"row $i\");
    $l->begin_transaction();
    $l->query('DELETE FROM big');
    $l->rollback();
    same('3', one($l, 'SELECT COUNT(*) FROM big'), 'rolled back');
    same(1146, error_of(fn() => $l->query('SELECT 1 FROM missing')), 'an error');
    // one connection, whose state is changed in front of each statement
    $m = endpoint();
    $m->query(\"SET SESSION sql_mode = 'ANSI_QUOTES'\");
    $m->query('SET NAMES latin1');
    $l->query('SET SESSION group_concat_max_len = 77');
    for ($i = 1; $i <= 20; $i++) {
        same('ANSI_QUOTES/latin1', one($m, \"SELECT CONCAT(@@sql_mode, '/', @@character_set_client)\"), \"state $i\");
        same('77/utf8mb4', one($l, \"SELECT CONCAT(@@group_concat_max_len, '/', @@character_set_client)\"), \"other state $i\");
    }
    $l->multi_query('SELECT 1; SELECT REPEAT(\"y\", 100000); SELECT 3');
    $seen = [];
    do { $seen[] = strlen($l->store_result()->fetch_row()[0]); } while ($l->more_results() && $l->next_result());
    same([1, 100000, 1], $seen, 'several results');
    $l->close();
    $status = one($m, \"SELECT VERSION() LIKE '%MariaDB%'\") ? 'Compression' : 'Compression_algorithm';
    echo $m->query(\"SHOW SESSION STATUS LIKE '$status'\")->fetch_row()[1];";

fn options(algorithm: &str) -> Options {
    Options {
        keys: format!("compression = \"{algorithm}\"\nlocal_infile = true"),
        pool: "max_server_connections = 1".into(),
        ..Options::default()
    }
}

#[test]
fn whatever_travels_compressed_arrives_as_it_was() {
    let cluster = Cluster::builder().cnf("max_allowed_packet=128M").build();
    for algorithm in ["zlib", "zstd"] {
        let endpoint = start(&cluster, options(algorithm));
        assert_eq!(endpoint.code(BOTH_WAYS).run().expect_ok(), algorithm);
        let infile = endpoint.script("infile.php").env(&[("INFILE", "1")]);
        assert_eq!(infile.run().expect_ok(), "ok");
    }
}

#[test]
fn whatever_travels_compressed_arrives_as_it_was_on_mariadb() {
    let mariadb = MariaDb::start();
    let endpoint = start_on_mariadb(&mariadb, options("zlib"));
    assert_eq!(endpoint.code(BOTH_WAYS).run().expect_ok(), "ON");
}

#[test]
fn a_server_that_does_not_compress_is_spoken_to_without() {
    let cluster = Cluster::builder()
        .cnf("protocol-compression-algorithms=zlib,uncompressed")
        .build();
    let options = Options {
        keys: "compression = \"zstd\"".into(),
        ..Options::default()
    };
    let endpoint = start(&cluster, options);
    let code = "echo one(endpoint(), 'SELECT v FROM kv WHERE id = 7');";
    assert_eq!(endpoint.code(code).run().expect_ok(), "value-7");
    assert!(endpoint.agent.log().contains("does not compress"));
}
