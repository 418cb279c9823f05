//! One door for whoever wants the instance away: what the web server is told, the hook, what is finished, sent and given back before
//! anybody is told that the machine may go, and progress for people.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::json;

use super::{PATIENT, SOON, leaving, tables, wait_step};
use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::azurite::{self, ACCOUNT};
use crate::support::faults::{Mode, Proxy};
use crate::support::imds::Imds;
use crate::support::mysql::{self, APP, Cluster, MON};
use crate::support::web::Apache;
use crate::support::{php, poll, redis};

/// Asks on an open connection, and says whether the web server will close it.
fn ask_on(connection: &mut TcpStream) -> Option<bool> {
    let request = b"GET /healthz.php HTTP/1.1\r\nHost: x\r\n\r\n";
    connection.write_all(request).ok()?;
    let mut text = String::new();
    let mut buffer = [0; 4096];
    while !text.contains("up") {
        let length = connection.read(&mut buffer).ok().filter(|it| *it > 0)?;
        text.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Some(text.to_ascii_lowercase().contains("connection: close"))
}

#[test]
fn connections_that_are_kept_alive_are_closed_by_apache_while_the_instance_leaves() {
    let home = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    let file = home.dir().join("run/shedding");
    // the web server's user must be able to look for it
    let open = <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o755);
    std::fs::create_dir_all(home.dir().join("run")).expect("a folder");
    std::fs::set_permissions(home.dir(), open).expect("the folder's mode");
    let ours = crate::tidy::read("packaging/web/apache.conf");
    let line = ours.lines().find(|line| line.contains("nokeepalive"));
    let line = line.expect("the line that closes them");
    let ours = line.replace("/run/lamplighter/shedding", &file.display().to_string());
    let web = Apache::builder()
        .file("healthz.php", "<?php echo 'up';")
        .config(&ours)
        .start();
    let config = format!(
        "[health.web]\nurl = \"{}\"\n[shutdown]\n\
         on_leave = [\"/bin/sh\", \"-c\", \"echo $LAMPLIGHTER_SOURCE > {{dir}}/left\"]\n\
         on_return = [\"/bin/sh\", \"-c\", \"echo back > {{dir}}/left\"]\n",
        web.url("/healthz.php")
    );
    let mut probed = Probed::start(home, &config);
    probed.agent.wait_ready(SOON);
    probed.wait(200);
    let address = web.url("/").replace("http://", "").replace('/', "");
    let mut kept = TcpStream::connect(&address).expect("a connection");
    kept.set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a timeout");
    assert_eq!(ask_on(&mut kept), Some(false));
    assert_eq!(ask_on(&mut kept), Some(false), "kept alive");

    probed.command("drain");
    poll::until(SOON, "the file", || file.exists());
    assert_eq!(ask_on(&mut kept), Some(true), "answered, then closed");
    assert_eq!(ask_on(&mut kept), None);
    let left = probed.agent.dir().join("left");
    let says = |word: &str| std::fs::read_to_string(&left).is_ok_and(|text| text.trim() == word);
    poll::until(SOON, "the hook", || says("command"));
    wait_step(&probed, "left");
    let (status, out, _) = probed.agent.command(&[
        "status",
        "--config",
        probed.agent.config_path().to_str().expect("UTF-8"),
    ]);
    assert!(
        status.success() && out.contains("leaving          left, asked for by command"),
        "{out}"
    );

    probed.command("undrain");
    probed.wait(200);
    poll::until(SOON, "the hook", || says("back"));
    assert!(!file.exists() && leaving(&probed).is_none());
    let mut again = TcpStream::connect(&address).expect("a connection");
    assert_eq!(ask_on(&mut again), Some(false));
}

const CONTAINER: &str = "uploads";
const LEASE: &str = "lmp:lease:{leaving}";

/// An agent that has something to lose in every way, and the servers that it has it on.
struct Laden {
    probed: Probed,
    imds: Imds,
    storage: azurite::Server,
    way: Proxy,
    redis: redis::Server,
}

/// Its tables: a file is sent after a minute; a warm-up takes longer than any test.
fn laden_tables(
    imds: &Imds,
    cluster: &Cluster,
    redis: &redis::Server,
    way: &Proxy,
    events: &str,
) -> String {
    let mut config = tables(imds, events).replace("[shutdown]\n", "");
    config += &format!(
        "[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"{}\"\nuser = \"{}\"\npassword_file = \"{{dir}}/app\"\n\
         tls = {{ ca = \"{}\" }}\n[mysql.pool]\n{PATIENT}[mysql.clients.web]\npeer_users = [\"root\"]\n[mysql.monitor]\nuser = \"{}\"\n\
         password_file = \"{{dir}}/mon\"\n",
        cluster.address(cluster.primary()),
        APP.0,
        cluster.ca_path().display(),
        MON.0,
    );
    config += &format!(
        "[redis]\nupstream = \"{}\"\n[[warm]]\nname = \"leaving\"\nkey = \"kv:{{id}}\"\ndatabase = \"app\"\nlease_ttl = \"5m\"\n\
         query = \"SELECT id, v FROM app.kv WHERE id > ? AND SLEEP(0.05) = 0 ORDER BY id LIMIT 20\"\n",
        redis.url(),
    );
    config
        + &format!(
            "[[sync]]\nname = \"up\"\ndirection = \"push\"\ncontainer = \"http://{}/{ACCOUNT}/{CONTAINER}\"\npath = \"{{dir}}/up\"\n\
             connection_string_file = \"{{dir}}/storage\"\ndebounce = \"1m\"\ninterval = \"1h\"\n",
            way.address()
        )
}

impl Laden {
    /// With these keys of `[platform.events]`.
    fn start(events: &str) -> Self {
        let (imds, cluster) = (Imds::start(), mysql::shared());
        let storage = azurite::Server::start();
        storage.create_container(CONTAINER);
        let way = Proxy::start(&storage.address());
        let redis = redis::Server::builder().start();
        let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
        builder.secret("app", APP.1);
        builder.secret("mon", MON.1);
        builder.secret("storage", &storage.connection_string());
        let config = laden_tables(&imds, cluster, &redis, &way, events);
        let mut probed = Probed::start(builder, &config);
        probed.agent.wait_ready(SOON);
        probed.wait(200);
        let laden = Self {
            probed,
            imds,
            storage,
            way,
            redis,
        };
        laden.wait_members(1);
        laden.redis.wait_key(SOON, LEASE);
        laden
    }

    fn members(&self) -> String {
        self.redis.cli(&["HLEN", "lmp:fleet:{web}"])
    }

    #[track_caller]
    fn wait_members(&self, count: usize) {
        poll::until(SOON, "the fleet's list", || {
            let members = self.members();
            if members == count.to_string() {
                Ok(())
            } else {
                Err(members)
            }
        });
    }

    fn is_warming(&self) -> bool {
        self.redis.cli(&["EXISTS", LEASE]) == "1"
    }

    fn write(&self, name: &str) {
        let path = self.probed.agent.dir().join("up").join(name);
        std::fs::write(path, name).expect("a file");
    }

    fn is_sent(&self, name: &str) -> bool {
        self.storage.get(CONTAINER, name).as_deref() == Some(name.as_bytes())
    }

    /// Waits until leaving waits for `name`, in `step`.
    #[track_caller]
    fn wait_for(&self, step: &str, name: &str) {
        poll::until(SOON, name, || match leaving(&self.probed) {
            Some(it) if it["step"] == step && it["waiting"].to_string().contains(name) => Ok(()),
            other => Err(format!("{other:?}")),
        });
    }

    fn status(&self) -> String {
        let config = self.probed.agent.config_path();
        let config = config.to_str().expect("UTF-8");
        self.probed.agent.command(&["status", "--config", config]).1
    }
}

/// A transaction through the endpoint that is open until the file `go` is there.
fn transaction(laden: &Laden) -> php::Running {
    let dir = laden.probed.agent.dir();
    let code = format!(
        "$c = new mysqli('localhost', 'web', '', 'app', 0, '{dir}/mysql.sock'); $c->begin_transaction();
         $c->query('SELECT v FROM kv WHERE id = 1 FOR UPDATE'); touch('{dir}/begun');
         while (!file_exists('{dir}/go')) {{ clearstatcache(); usleep(5000); }}
         echo $c->query('SELECT v FROM kv WHERE id = 1')->fetch_row()[0]; $c->commit();",
        dir = dir.display()
    );
    let script = php::Script::code(&code).spawn();
    poll::until(SOON, "the transaction", || {
        let begun = dir.join("begun").exists();
        begun.then_some(()).ok_or_else(|| script.stdout())
    });
    script
}

#[test]
fn nobody_is_told_before_transactions_are_over_files_sent_leases_given_back_and_the_fleet_left() {
    let mut laden = Laden::start("settle = \"1s\"");
    let transaction = transaction(&laden);
    laden.write("event");
    laden.way.set(Mode::Refuse);
    laden.imds.announce("e", "Terminate", &["web_0"], 300);
    laden.probed.wait(503);
    // its statements are ours, and nobody waits for them
    poll::until(SOON, "the lease", || !laden.is_warming());
    laden.wait_for("finishing", "mysql");
    std::fs::write(laden.probed.agent.dir().join("go"), "").expect("a file");
    assert_eq!(transaction.wait(SOON).expect_ok(), "value-1");
    laden.wait_for("flushing", "{\"left\":1,\"name\":\"sync:up\"}");
    let told = laden.status();
    assert!(told.contains("flushing (sync:up: 1)"), "{told}");
    assert_eq!(laden.members(), "1", "one thing after the other");
    assert!(laden.imds.acknowledged().is_empty() && !laden.is_sent("event"));
    laden.way.set(Mode::Pass);
    poll::until(SOON, "the acknowledgement", || {
        laden.imds.acknowledged() == ["e"]
    });
    assert!(laden.is_sent("event"), "sent before Azure was told");
    assert_eq!(laden.members(), "0", "left before Azure was told");
    let told = leaving(&laden.probed).expect("it is leaving");
    assert_eq!(told["abandoned"], json!([]));

    laden.imds.take_off("e");
    laden.probed.wait(200);
    laden.wait_members(1);
    laden.redis.wait_key(SOON, LEASE);
    laden.write("command");
    laden.probed.command("drain");
    wait_step(&laden.probed, "left");
    assert!(laden.is_sent("command") && !laden.is_warming());
    assert_eq!(laden.members(), "0");

    laden.probed.command("undrain");
    laden.wait_members(1);
    laden.redis.wait_key(SOON, LEASE);
    laden.write("signal");
    assert!(laden.probed.agent.stop().0.success());
    assert!(laden.is_sent("signal") && !laden.is_warming());
    assert_eq!(laden.members(), "0");
}

#[test]
fn a_preempt_abandons_in_its_order_what_would_take_longer_and_nothing_else() {
    // as Azure's notice has it: what can be done has seconds where it takes milliseconds
    let laden = Laden::start("");
    let transaction = transaction(&laden);
    laden.write("event");
    laden.way.set(Mode::Refuse);
    laden.imds.announce("p", "Preempt", &["web_0"], 30);
    laden.probed.wait(503);
    poll::until(SOON, "the acknowledgement", || {
        laden.imds.acknowledged() == ["p"]
    });
    let told = leaving(&laden.probed).expect("it is leaving");
    assert_eq!(told["step"], "left");
    assert_eq!(told["abandoned"], json!(["mysql", "sync:up"]));
    assert_eq!(laden.members(), "0", "what could be done was");
    assert!(!laden.is_warming() && !laden.is_sent("event"));
    // what was not waited for goes on as long as there is a machine
    std::fs::write(laden.probed.agent.dir().join("go"), "").expect("a file");
    assert_eq!(transaction.wait(SOON).expect_ok(), "value-1");
    laden.way.set(Mode::Pass);
    // half a minute of failures is followed by a pause of anything up to two minutes
    poll::until(4 * SOON, "the file", || laden.is_sent("event"));
}
