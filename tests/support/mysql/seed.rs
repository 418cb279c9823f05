//! A data directory made once per server version and seed, and copied for every server: initialising takes ten seconds,
//! copying a fraction of one.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::programs;
use super::{APP, MON, OTHER, TLS_ONLY};

/// Settings of every server, as far as they do not depend on the node. Small and quick: the data is thrown away.
const SETTINGS: &str = "\
mysqlx=OFF
skip-name-resolve=ON
gtid-mode=ON
enforce-gtid-consistency=ON
log-bin=bin
relay-log=relay
log-replica-updates=ON
session-track-gtids=OWN_GTID
skip-replica-start=OFF
max-connections=6000
open-files-limit=65536
back-log=2048
max-connect-errors=1000000
local-infile=ON
secure-file-priv=
log-bin-trust-function-creators=ON
performance-schema=OFF
innodb-buffer-pool-size=32M
innodb-redo-log-capacity=16M
innodb-log-buffer-size=2M
innodb-flush-log-at-trx-commit=0
innodb-doublewrite=OFF
innodb-use-native-aio=OFF
innodb-dedicated-server=OFF
innodb-buffer-pool-dump-at-shutdown=OFF
innodb-buffer-pool-load-at-startup=OFF
sync-binlog=0
auto-generate-certs=OFF
log-error-verbosity=2
";

/// `my.cnf` for a server in `dir`, up to what the node adds: data in `dir/data`, socket `dir/s`.
pub(super) fn base_cnf(dir: &Path) -> String {
    let root = programs::find_cached("mysql9/root", "mysql");
    let (root, dir) = (root.display(), dir.display());
    format!(
        "[mysqld]\nbasedir={root}/usr\nlc-messages-dir={root}/usr/share/mysql\ncharacter-sets-dir={root}/usr/share/mysql/charsets\n\
         plugin-dir={root}/usr/lib/mysql/plugin\ndatadir={dir}/data\ntmpdir={dir}/tmp\npid-file={dir}/pid\nsocket={dir}/s\n\
         log-error={dir}/error.log\ngeneral-log-file={dir}/general.log\n{SETTINGS}"
    )
}

/// The seeded data directory for the installed version, made when it is not there.
pub(super) fn datadir() -> PathBuf {
    let version = fs::read_to_string(programs::find_cached("mysql9/complete", "mysql"))
        .expect("the version file");
    let sql = seed_sql();
    let mut digest = DefaultHasher::new();
    (&version, SETTINGS, &sql).hash(&mut digest);
    let seeds = programs::cache().join("seed");
    fs::create_dir_all(&seeds).expect("the folder of seeds");
    let seed = seeds.join(format!("mysql-{:016x}", digest.finish()));
    let lock = File::create(seeds.join("lock")).expect("the lock file");
    lock.lock().expect("the lock");
    if !seed.exists() {
        let making = seeds.join("making");
        drop(fs::remove_dir_all(&making));
        initialise(&making, &sql);
        fs::rename(making.join("data"), &seed).expect("the new seed in its place");
        drop(fs::remove_dir_all(&making));
    }
    seed
}

fn initialise(dir: &Path, sql: &str) {
    fs::create_dir_all(dir.join("tmp")).expect("a folder");
    fs::write(dir.join("my.cnf"), base_cnf(dir)).expect("my.cnf");
    fs::write(dir.join("seed.sql"), sql).expect("seed.sql");
    let mut command = Command::new(programs::find_cached("mysql9/bin/mysqld", "mysql"));
    command
        .arg(format!("--defaults-file={}", dir.join("my.cnf").display()))
        .arg("--initialize-insecure")
        .arg(format!("--init-file={}", dir.join("seed.sql").display()));
    if rustix::process::geteuid().is_root() {
        command.arg("--user=root");
    }
    let output = command.output().expect("mysqld runs");
    let log = fs::read_to_string(dir.join("error.log")).unwrap_or_default();
    // a statement that the server refuses is an error line, not an exit code
    let refused = log.lines().any(|line| line.contains("[ERROR]"));
    assert!(
        output.status.success() && !refused,
        "mysqld --initialize: {}\n{log}",
        output.status
    );
    // every server makes its own identity
    drop(fs::remove_file(dir.join("data/auto.cnf")));
}

/// One statement a line: the server reads an init file so. Nothing here is replicated: every node has it from its seed.
fn seed_sql() -> String {
    let mut sql = String::from(
        "CREATE USER repl@'%' IDENTIFIED BY 'repl-secret' REQUIRE SSL;\nGRANT REPLICATION SLAVE ON *.* TO repl@'%';\n\
         CREATE DATABASE app;\nCREATE DATABASE sbtest;\nCREATE DATABASE test;\n",
    );
    for (user, password) in [APP, OTHER, TLS_ONLY] {
        let tls = if user == TLS_ONLY.0 {
            " REQUIRE SSL"
        } else {
            ""
        };
        sql += &format!("CREATE USER {user}@'%' IDENTIFIED BY '{password}'{tls};\n");
        for schema in ["app", "sbtest", "test"] {
            sql += &format!("GRANT ALL ON {schema}.* TO {user}@'%';\n");
        }
    }
    let (mon, password) = MON;
    sql += &format!(
        "CREATE USER {mon}@'%' IDENTIFIED BY '{password}';\nGRANT REPLICATION CLIENT, PROCESS ON *.* TO {mon}@'%';\n"
    );
    sql += "CREATE TABLE app.kv (id INT PRIMARY KEY, v VARCHAR(100) NOT NULL);\n\
            INSERT INTO app.kv WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < 1000) \
            SELECT n, CONCAT('value-', n) FROM s;\n\
            CREATE TABLE app.heartbeat (id INT PRIMARY KEY, ts TIMESTAMP(6));\n";
    sql
}
