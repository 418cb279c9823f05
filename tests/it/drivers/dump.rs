//! A dump is the same through the endpoint, and what is restored from it through the endpoint is what was dumped.

use std::path::PathBuf;

use super::{Door, differences, itself, run, through};
use crate::endpoint::{Options, start, start_on_mariadb};
use crate::support::mariadb::MariaDb;
use crate::support::mysql::Cluster;
use crate::support::programs;

/// What a dump has to write out beside rows: types whose text is not their value, names that need quotes, and what runs by itself.
const SCHEMA: &str = "CREATE TABLE `odd name` (id INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB, bits BIT(9), f DOUBLE, d DATETIME(6), s TEXT,
        j JSON, g INT GENERATED ALWAYS AS (LENGTH(s)) STORED) AUTO_INCREMENT = 40;
    INSERT INTO `odd name` (b, bits, f, d, s, j) VALUES
        (x'0027005C0A0D1AFF', b'100000001', 1e-300, '2024-02-29 12:00:00.000001', 'h\u{e9}\u{2603} \\\\ '' \"', '{\"a\": [1, null]}'),
        (NULL, NULL, NULL, NULL, NULL, NULL), (REPEAT('lamp', 100000), 0, -0.0, '1000-01-01', '', '[]');
    CREATE TABLE log (n INT);
    CREATE VIEW few AS SELECT id, v FROM kv WHERE id < 10;
    CREATE FUNCTION twice(x INT) RETURNS INT DETERMINISTIC RETURN x * 2;
    DELIMITER //
    CREATE TRIGGER noted AFTER INSERT ON `odd name` FOR EACH ROW BEGIN INSERT INTO log VALUES (NEW.id); END//
    CREATE PROCEDURE all_of_it() BEGIN SELECT COUNT(*) FROM kv; SELECT * FROM few; END//
    DELIMITER ;
";

/// The client and the dumper of one server.
struct Programs {
    client: PathBuf,
    dumper: PathBuf,
    options: &'static [&'static str],
}

impl Programs {
    fn ask(&self, schema: &str, door: &Door<'_>, input: &str) -> String {
        run(&self.client, &["--batch"], schema, door, input)
    }

    fn dump(&self, schema: &str, door: &Door<'_>) -> String {
        let options = [
            self.options,
            &["--routines", "--triggers", "--skip-comments"],
        ]
        .concat();
        run(&self.dumper, &options, schema, door, "")
    }
}

/// Schema `app` is dumped, restored into `test` through the endpoint, and `test` is dumped.
fn go_round(programs: &Programs, direct: &Door<'_>, door: &Door<'_>) {
    assert_eq!(programs.ask("app", direct, SCHEMA), "");
    let expected = programs.dump("app", direct);
    let complaint = expected.lines().find(|line| line.contains("dump: "));
    assert_eq!(complaint, None, "on the server itself");
    assert!(
        expected.contains("'value-1000'") && expected.contains("TRIGGER"),
        "{expected}"
    );
    let assert_same = |what: &str, got: &str| {
        let wrong = differences(&expected, got);
        assert!(wrong.is_empty(), "{what}: {wrong:#?}");
    };
    assert_same("the dump", &programs.dump("app", door));
    assert_eq!(programs.ask("test", door, &expected), "");
    // views and routines name the schema they were made in
    let named = programs.dump("test", direct).replace("`test`", "`app`");
    assert_same("what was restored", &named);
}

#[test]
fn what_is_dumped_and_restored_through_the_endpoint_is_the_same_on_mysql() {
    let cluster = Cluster::builder()
        .cnf("log-bin-trust-function-creators=ON")
        .build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_opened(&cluster);
    let program = |name: &str| programs::find_cached(&format!("mysql9/bin/{name}"), "mysql");
    let programs = Programs {
        client: program("mysql"),
        dumper: program("mysqldump"),
        options: &[
            "--single-transaction",
            "--set-gtid-purged=OFF",
            "--no-tablespaces",
            "--skip-masking-policies",
        ],
    };
    let (socket, path) = (cluster.socket(0), endpoint.socket());
    let [_, door] = through(&path, &endpoint);
    go_round(&programs, &itself(&socket, &cluster.address(0)), &door);
}

#[test]
fn what_is_dumped_and_restored_through_the_endpoint_is_the_same_on_mariadb() {
    let mariadb = MariaDb::start();
    let endpoint = start_on_mariadb(&mariadb, Options::default());
    let programs = Programs {
        client: programs::find("mariadb", "drivers"),
        dumper: programs::find("mariadb-dump", "drivers"),
        // with locks, which keep their connection
        options: &["--lock-tables"],
    };
    let (socket, path) = (mariadb.socket(), endpoint.socket());
    let [_, door] = through(&path, &endpoint);
    go_round(&programs, &itself(&socket, &mariadb.address()), &door);
}
