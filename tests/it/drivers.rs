//! Drivers of several languages, on MySQL and on MariaDB: each does the hard cases directly and through the endpoint, and must see the
//! same.

mod attributes;

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::endpoint::{Endpoint, Options, start, start_on_mariadb};
use crate::support::mariadb::MariaDb;
use crate::support::mysql::{APP, Cluster};
use crate::support::programs;

/// Interpreter, script, driver; what `install.sh drivers` brings.
const DRIVERS: [(&str, &str, &str); 12] = [
    ("php", "driver.php", "mysqli"),
    ("php", "driver.php", "emulated"),
    ("php", "driver.php", "native"),
    ("php", "driver.php", "unbuffered"),
    ("php", "driver.php", "persistent"),
    ("/usr/bin/python3", "driver.py", "pymysql"),
    ("/usr/bin/python3", "driver.py", "MySQLdb"),
    ("drivers/python/bin/python3", "driver.py", "mysql.connector"),
    ("node", "driver.js", "query"),
    ("node", "driver.js", "execute"),
    ("perl", "driver.pl", "mysql"),
    ("perl", "driver.pl", "MariaDB"),
];

/// Where a driver connects, and as whom.
struct Door<'a> {
    socket: &'a Path,
    user: &'a str,
    password: &'a str,
}

/// What the driver saw.
fn saw(interpreter: &str, script: &str, driver: &str, door: &Door<'_>) -> String {
    let program = if interpreter.starts_with("drivers/") {
        programs::find_cached(interpreter, "drivers")
    } else {
        interpreter.into()
    };
    let output = Command::new(program)
        .arg(programs::tests_dir().join("drivers").join(script))
        .env("DRIVER", driver)
        .env("SOCKET", door.socket)
        .env(
            "MODULES",
            programs::cache().join("drivers/node/node_modules"),
        )
        .env("DBUSER", door.user)
        .env("DBPASSWORD", door.password)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap_or_else(|error| {
            panic!("{interpreter}: {error}: run tests/support/install.sh drivers")
        });
    format!(
        "{}{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        if output.status.success() {
            ""
        } else {
            "FAILED"
        }
    )
}

/// Lines that differ, with the line before them.
fn differences(direct: &str, through: &str) -> Vec<String> {
    let (mut left, mut right) = (direct.lines(), through.lines());
    let mut found = Vec::new();
    loop {
        match (left.next(), right.next()) {
            (None, None) => return found,
            (a, b) if a == b => {}
            (a, b) => found.push(format!(
                "direct:   {}\n      endpoint: {}",
                a.unwrap_or("(nothing)"),
                b.unwrap_or("(nothing)")
            )),
        }
    }
}

/// Every driver on one server.
fn all_drivers(server: &str, socket: &Path, endpoint: &Endpoint) -> Vec<String> {
    let through = endpoint.socket();
    let mut wrong = Vec::new();
    for (interpreter, script, driver) in DRIVERS {
        let direct = Door {
            socket,
            user: APP.0,
            password: APP.1,
        };
        let expected = saw(interpreter, script, driver, &direct);
        assert!(
            !expected.contains("FAILED"),
            "{script} {driver} on {server} itself:\n{expected}"
        );
        let door = Door {
            socket: Path::new(&through),
            user: "web",
            password: "",
        };
        let got = saw(interpreter, script, driver, &door);
        let differing = differences(&expected, &got);
        if !differing.is_empty() {
            wrong.push(format!(
                "{server}, {script} with {driver}:\n      {}",
                differing.join("\n      ")
            ));
        }
    }
    wrong
}

#[test]
fn drivers_see_through_the_endpoint_what_they_see_directly_on_mysql() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_opened(&cluster);
    let wrong = all_drivers("MySQL", &cluster.socket(0), &endpoint);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn drivers_see_through_the_endpoint_what_they_see_directly_on_mariadb() {
    let mariadb = MariaDb::start();
    let endpoint = start_on_mariadb(&mariadb, Options::default());
    let wrong = all_drivers("MariaDB", &mariadb.socket(), &endpoint);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A program of MySQL on a door, fed with `input`: what it wrote.
fn program(name: &str, options: &[&str], door: &Door<'_>, input: &str) -> String {
    let mut child = Command::new(programs::find_cached(
        &format!("mysql9/bin/{name}"),
        "mysql",
    ))
    .arg("--no-defaults")
    .args(options)
    .arg(format!("--user={}", door.user))
    .arg("--socket")
    .arg(door.socket)
    .arg("app")
    .env("MYSQL_PWD", door.password)
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .expect("the program runs");
    let mut stdin = child.stdin.take().expect("a pipe");
    // one that gives up early says why on its standard error
    drop(stdin.write_all(input.as_bytes()));
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        // the endpoint comes over TCP, whoever asks it
        String::from_utf8_lossy(&output.stderr).replace("'localhost'", "'127.0.0.1'")
    )
}

const TYPED: &str = "SELECT DATABASE();\nSHOW TABLES;\nuse test\nSELECT DATABASE(), @@warning_count;\nSELEC 1;\nuse app\n\
    CREATE TEMPORARY TABLE typed (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT);\nINSERT INTO typed (v) VALUES ('a'), ('\u{2603}');\n\
    SELECT LAST_INSERT_ID(), ROW_COUNT();\nSELECT * FROM typed;\nBEGIN;\nDELETE FROM typed;\nROLLBACK;\nSELECT COUNT(*) FROM typed;\n\
    SELECT 1/0;\nSHOW WARNINGS;\nSET @x = 3;\nSELECT @x;\ndelimiter //\nSELECT 1; SELECT 2//\ndelimiter ;\nSELECT @@sql_mode;\n";

#[test]
fn the_command_line_and_a_dump_are_the_same_through_the_endpoint() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_opened(&cluster);
    let (socket, through) = (cluster.socket(0), endpoint.socket());
    let direct = Door {
        socket: &socket,
        user: APP.0,
        password: APP.1,
    };
    let door = Door {
        socket: Path::new(&through),
        user: "job",
        password: "job-secret",
    };
    for options in [
        ["--batch", "--force"].as_slice(),
        &["--table", "--force", "--show-warnings"],
        &["--xml", "--force"],
    ] {
        let expected = program("mysql", options, &direct, TYPED);
        let got = program("mysql", options, &door, TYPED);
        let wrong = differences(&expected, &got);
        assert!(wrong.is_empty(), "mysql {options:?}: {}", wrong.join("\n"));
    }
    let options = [
        "--single-transaction",
        "--set-gtid-purged=OFF",
        "--no-tablespaces",
        "--routines",
        "--triggers",
        "--skip-comments",
    ];
    let expected = program("mysqldump", &options, &direct, "");
    assert!(expected.contains("'value-1000'"), "{expected}");
    let got = program("mysqldump", &options, &door, "");
    assert!(
        expected == got,
        "the dumps differ:\n{:#?}",
        differences(&expected, &got)
    );
}
