//! Everything that Azure's own services and the clock can get wrong, on a machine whose every login is by the machine's identity.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::whole::{
    CONTAINER, Machine, PARTS, REDIS_SOCKET, VISITS, builder, clients, furnish, greet,
};
use super::{PATIENT, SOON, leaving, wait_polls};
use crate::support::azurite;
use crate::support::entra::{ACCOUNT, EntraMysql};
use crate::support::imds::Imds;
use crate::support::mysql::Cluster;
use crate::support::{http, poll, redis};

/// How long the first tokens are good for, in seconds; another is asked for half-way.
const LIFETIME: i32 = 40;

/// More than half of that, and some pauses.
const LATER: Duration = Duration::from_secs(60);

/// Whom Redis knows the identity as: the object id in `imds.py`.
const OBJECT_ID: &str = "6f2ca0c4-41a8-4a5c-a7a5-0b1e1d0c9f11";

/// The servers, each of which lets in by tokens.
struct Servers {
    entra: EntraMysql,
    cluster: Cluster,
    redis: redis::Server,
    storage: azurite::Server,
}

impl Servers {
    fn start() -> Self {
        let rights = "GRANT ALL ON app.* TO entra@'%';";
        let schema = [VISITS, ACCOUNT, rights].concat();
        let cluster = Cluster::builder().schema(&schema).build();
        let user = format!("user {OBJECT_ID} on nopass ~* &* +@all");
        let redis = redis::Server::builder().tls().config(&user).start();
        greet(&redis);
        let storage = azurite::Server::start_with_tokens();
        furnish(&storage);
        Self {
            entra: EntraMysql::start(&cluster),
            cluster,
            redis,
            storage,
        }
    }

    fn tables(&self) -> String {
        let managed = "auth = \"managed-identity\"";
        let tls = |ca: PathBuf| format!("tls = {{ ca = \"{}\" }}", ca.display());
        format!(
            "[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"{}\"\nuser = \"web-identity\"\n{managed}\n{}\n{}\
             [mysql.pool]\n{PATIENT}[redis]\ncommand_timeout = \"10s\"\n{REDIS_SOCKET}upstream = \"{}\"\n{managed}\n{}\n\
             [[sync]]\nname = \"site\"\ncontainer = \"{}\"\npath = \"{{dir}}/tree\"\n{managed}\n{}\ninterval = \"1s\"\n",
            self.entra.address(),
            tls(self.cluster.ca_path()),
            clients(),
            self.redis.url(),
            tls(self.redis.ca_path()),
            self.storage.container_url(CONTAINER),
            tls(self.storage.ca_path()),
        )
    }
}

/// The library between a program and its clock (faketime(1)).
fn faketime() -> PathBuf {
    let found = std::fs::read_dir("/usr/lib").expect("/usr/lib").flatten();
    let library = |folder: PathBuf| folder.join("faketime/libfaketimeMT.so.1");
    let mut found = found.map(|it| library(it.path())).filter(|it| it.exists());
    found
        .next()
        .expect("libfaketime: run tests/support/install.sh base")
}

/// As logs begin with it.
fn today() -> String {
    let date = Command::new("date").args(["--utc", "+%F"]).output();
    let date = String::from_utf8(date.expect("date runs").stdout).expect("text");
    date.trim().to_owned()
}

/// The series that begin so, one for each resource.
fn series(machine: &Machine, start: &str) -> [f64; 3] {
    let text = http::get(&machine.probed.metrics, "/metrics").map(|it| it.text());
    let text = text.unwrap_or_default();
    ["mysql", "redis", "storage"].map(|resource| {
        let named = format!("{start}resource=\"{resource}\"}} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&*named));
        line.and_then(|it| it.parse().ok()).unwrap_or(0.0)
    })
}

#[test]
fn whatever_azures_services_say_and_the_clock_does_visitors_see_nothing_of_it() {
    let servers = Servers::start();
    let imds = Imds::start();
    imds.set(&json!({"lifetime": LIFETIME}));
    let builder = builder();
    let clock = builder.dir().join("clock");
    std::fs::write(&clock, "+30d").expect("the clock");
    let builder = builder
        .env("LD_PRELOAD", &faketime().display().to_string())
        .env("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    let machine = Machine::start_with(builder, imds, &servers.tables(), "");
    let imds = &machine.imds;
    // its log has its clock's time
    assert_ne!(
        today(),
        machine.probed.agent.log().get(..10).unwrap_or_default()
    );
    machine.visited(&PARTS, || {
        // the next tokens that come have ended before
        imds.set(&json!({"lifetime": -60}));
        imds.announce("n", "Terminate", &["other_9"], 900);
        imds.set(&json!({"fuzz": 7}));
        let damaged = || {
            let journal = imds.journal();
            journal.iter().filter(|it| it["damaged"] == true).count()
        };
        poll::until(LATER, "damaged answers", || damaged() >= 4);
        imds.set(&json!({"fuzz": 0}));
        for status in [500, 410] {
            imds.set(&json!({"status": {"events": status, "instance": status}}));
            poll::until(SOON, "a failure", || imds.count("events", status) > 0);
            imds.set(&json!({"status": {}}));
            wait_polls(imds, 1);
        }
        for jump in ["+0", "-30d", "+30d"] {
            std::fs::write(&clock, jump).expect("the clock");
            wait_polls(imds, 2);
        }
        let failed = "lamplighter_platform_token_refreshes_total{outcome=\"failed\",";
        poll::until(LATER, "tokens of the past", || {
            let failed = series(&machine, failed);
            if failed.iter().all(|it| *it >= 1.0) {
                Ok(())
            } else {
                Err(format!("{failed:?}"))
            }
        });
        imds.set(&json!({"lifetime": 3600}));
        let left = "lamplighter_platform_token_expires_seconds{";
        poll::until(LATER, "good tokens", || {
            let left = series(&machine, left);
            if left.iter().all(|it| *it > 3000.0) {
                Ok(())
            } else {
                Err(format!("{left:?}"))
            }
        });
    });
    assert!(leaving(&machine.probed).is_none() && imds.acknowledged().is_empty());
    let log = machine.probed.agent.log();
    assert!(!log.contains("panick") && !log.contains("eyJ"), "{log}");
}
