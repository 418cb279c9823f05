//! Drivers of several languages, on MySQL and on MariaDB: each does the hard cases directly and through the endpoint, and must see the
//! same.

mod attributes;
mod dump;

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

/// Those that are compiled first; `install.sh compiled-drivers` brings what compiles them. Only with [`ALL`].
const COMPILED: [(&str, &str, &str); 5] = [
    ("go run", "driver.go", "text"),
    ("go run", "driver.go", "prepared"),
    (JAVA, "Driver.java", "text"),
    (JAVA, "Driver.java", "prepared"),
    (JAVA, "Driver.java", "batched"),
];

/// Compiles the program itself.
const JAVA: &str = "java -cp /usr/share/java/mariadb-java-client.jar";

/// Set by `make test-drivers`.
const ALL: &str = "LAMPLIGHTER_ALL_DRIVERS";

/// Where a driver connects, and as whom.
#[derive(Clone, Copy)]
struct Door<'a> {
    socket: &'a Path,
    /// The same by TCP on 127.0.0.1.
    port: u16,
    user: &'a str,
    password: &'a str,
}

/// What the driver saw.
fn saw(interpreter: &str, script: &str, driver: &str, door: &Door<'_>) -> String {
    let (interpreter, arguments) = interpreter.split_once(' ').unwrap_or((interpreter, ""));
    let program = if interpreter.starts_with("drivers/") {
        programs::find_cached(interpreter, "drivers")
    } else {
        interpreter.into()
    };
    let output = Command::new(program)
        .args(arguments.split_whitespace())
        .arg(programs::tests_dir().join("drivers").join(script))
        .env("DRIVER", driver)
        .env("SOCKET", door.socket)
        .env("PORT", door.port.to_string())
        .env(
            "MODULES",
            programs::cache().join("drivers/node/node_modules"),
        )
        .envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")])
        .env("GOCACHE", programs::cache().join("drivers/go"))
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

/// What one driver sees otherwise behind `through` than behind `direct`.
fn compare(of: (&str, &str, &str), direct: &Door<'_>, through: &Door<'_>) -> Option<String> {
    let (interpreter, script, driver) = of;
    let expected = saw(interpreter, script, driver, direct);
    assert!(
        !expected.contains("FAILED"),
        "{script} {driver} on the server itself:\n{expected}"
    );
    let differing = differences(&expected, &saw(interpreter, script, driver, through));
    let text = differing.join("\n      ");
    (!differing.is_empty()).then(|| format!("{script} with {driver}:\n      {text}"))
}

/// Every driver on one server.
fn assert_alike(direct: &Door<'_>, endpoint: &Endpoint) {
    let socket = endpoint.socket();
    let [web, job] = through(&socket, endpoint);
    let compiled = std::env::var_os(ALL).map_or(&[][..], |_| &COMPILED);
    let wrong: Vec<String> = DRIVERS
        .iter()
        .chain(compiled)
        .filter_map(|driver| {
            // Connector/J comes by TCP, where nobody is known without a password
            let door = if driver.0 == JAVA { &job } else { &web };
            compare(*driver, direct, door)
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The endpoint, for a user that the kernel vouches for and for one with a password.
fn through<'a>(socket: &'a str, endpoint: &Endpoint) -> [Door<'a>; 2] {
    [("web", ""), ("job", "job-secret")].map(|(user, password)| Door {
        socket: Path::new(socket),
        port: endpoint.tcp_port,
        user,
        password,
    })
}

/// A server itself.
fn itself<'a>(socket: &'a Path, address: &str) -> Door<'a> {
    let (_, port) = address.rsplit_once(':').expect("host:port");
    Door {
        socket,
        port: port.parse().expect("a number"),
        user: APP.0,
        password: APP.1,
    }
}

#[test]
fn drivers_see_through_the_endpoint_what_they_see_directly_on_mysql() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_opened(&cluster);
    let socket = cluster.socket(0);
    assert_alike(&itself(&socket, &cluster.address(0)), &endpoint);
}

#[test]
fn drivers_see_through_the_endpoint_what_they_see_directly_on_mariadb() {
    let mariadb = MariaDb::start();
    let endpoint = start_on_mariadb(&mariadb, Options::default());
    let socket = mariadb.socket();
    assert_alike(&itself(&socket, &mariadb.address()), &endpoint);
}

/// A program of MySQL 9 on a door, with the schema `app`.
fn program(name: &str, options: &[&str], door: &Door<'_>, input: &str) -> String {
    let path = programs::find_cached(&format!("mysql9/bin/{name}"), "mysql");
    run(&path, options, "app", door, input)
}

/// A client program on a door, fed with `input`: what it wrote.
fn run(path: &Path, options: &[&str], schema: &str, door: &Door<'_>, input: &str) -> String {
    let mut child = Command::new(path)
        .arg("--no-defaults")
        .args(options)
        .arg(format!("--user={}", door.user))
        .arg("--socket")
        .arg(door.socket)
        .arg(schema)
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
fn the_command_line_says_the_same_through_the_endpoint() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_opened(&cluster);
    let (socket, path) = (cluster.socket(0), endpoint.socket());
    let direct = itself(&socket, &cluster.address(0));
    let [_, door] = through(&path, &endpoint);
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
}
