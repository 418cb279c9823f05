//! Tokens from the provider to the server: MySQL lets the agent in by them, and none of their troubles reaches PHP.

use std::time::{Duration, Instant};

use serde_json::json;

use super::SOON;
use crate::probe::Probed;
use crate::support::agent::Agent;
use crate::support::azurite;
use crate::support::entra::{ACCOUNT, EntraMysql};
use crate::support::imds::Imds;
use crate::support::mysql::Cluster;
use crate::support::storage_pages::StoragePages;
use crate::support::{http, php, poll};

/// More than one pause after a failure.
const LATER: Duration = Duration::from_secs(60);

/// An agent in front of `entra`, with `tables` that say whose tokens it shows; not waited for.
fn start(cluster: &Cluster, entra: &EntraMysql, tables: &str) -> Probed {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("federated", "let me in");
    let config = format!(
        "[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\nprimary = \"{}\"\nuser = \"web-identity\"\nauth = \"managed-identity\"\n\
         tls = {{ ca = \"{}\" }}\n[mysql.clients.web]\npeer_users = [\"root\", \"{}\"]\n[mysql.pool]\nmin_idle = 1\n{tables}\n",
        entra.address(),
        cluster.ca_path().display(),
        rustix::process::getuid().as_raw(),
    );
    let config = config.replace("\"root\", \"0\"", "\"root\"");
    let mut probed = Probed::start(builder, &config);
    probed.agent.wait_ready(SOON);
    probed
}

/// Who PHP is on the server, or the error it gets.
fn who(probed: &Probed) -> Result<String, String> {
    let socket = probed.agent.dir().join("mysql.sock");
    let library = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/php/mysql.php");
    let code = format!(
        "require '{library}'; mysqli_report(MYSQLI_REPORT_OFF); $c = @new mysqli('localhost', 'web', '', '', 0, getenv('SOCKET')); \
         $r = $c->connect_errno ? false : $c->query('SELECT CURRENT_USER()'); \
         echo $r ? implode(' ', $r->fetch_row()) : 'error ' . ($c->connect_error ?: $c->error);"
    );
    let socket = socket.display().to_string();
    let output = php::Script::code(&code)
        .env(&[("SOCKET", socket.as_str())])
        .run();
    if output.stdout.starts_with("entra@%") {
        Ok(output.stdout)
    } else {
        Err(output.stdout + &output.stderr)
    }
}

fn metric(probed: &Probed, start: &str) -> f64 {
    let text = http::get(&probed.metrics, "/metrics")
        .expect("the metrics")
        .text();
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let line = line.unwrap_or_else(|| panic!("no {start} in\n{text}"));
    line.trim().parse().expect("a number")
}

fn managed(imds: &Imds) -> String {
    format!("[platform]\nimds = \"{}\"", imds.url())
}

#[test]
fn mysql_lets_the_machine_in_by_its_token_and_a_refused_one_spoils_nothing() {
    let cluster = Cluster::builder().schema(ACCOUNT).build();
    let entra = EntraMysql::start(&cluster);
    let imds = Imds::start();
    let probed = start(&cluster, &entra, &managed(&imds));
    poll::until(SOON, "a login", || who(&probed));
    // connections that are open outlive what they were opened with
    let dir = probed.agent.dir();
    let transaction = format!(
        "$c = new mysqli('localhost', 'web', '', '', 0, '{dir}/mysql.sock'); $c->begin_transaction(); $c->query('SELECT 1 FOR UPDATE'); \
         touch('{dir}/begun'); while (!file_exists('{dir}/go')) {{ clearstatcache(); usleep(5000); }} \
         echo $c->query('SELECT CURRENT_USER()')->fetch_row()[0]; $c->commit();",
        dir = dir.display()
    );
    let transaction = php::Script::code(&transaction).spawn();
    poll::until(SOON, "the transaction", || dir.join("begun").exists());
    entra.accept("");
    std::fs::write(dir.join("go"), "").expect("a file");
    assert_eq!(transaction.wait(SOON).expect_ok(), "entra@%");
    let fetched = imds.count("token", 200);
    for connection in cluster.connections(0) {
        if connection.user == "entra" {
            let _gone = cluster.try_sql(0, &format!("KILL {}", connection.id));
        }
    }
    let refused = poll::until(SOON, "a refusal", || who(&probed).err());
    assert!(refused.contains("error"), "{refused}");
    poll::until(SOON, "another token", || imds.count("token", 200) > fetched);
    for _ in 0..2 {
        assert!(who(&probed).is_err());
    }
    assert!(
        imds.count("token", 200) <= fetched + 3,
        "refusals of one token are one refresh, at most one in ten seconds"
    );
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    entra.accept("*");
    poll::until(LATER, "a login", || who(&probed));
    // the whole way of a token, and not a word of it in the log
    assert!(!probed.agent.log().contains("eyJ"));
}

#[test]
fn tokens_are_renewed_half_way_and_a_provider_that_is_away_is_told_before_they_end() {
    let cluster = Cluster::builder().schema(ACCOUNT).build();
    let entra = EntraMysql::start(&cluster);
    let imds = Imds::start();
    imds.set(&json!({"lifetime": 8}));
    let probed = start(&cluster, &entra, &managed(&imds));
    poll::until(SOON, "a login", || who(&probed));
    poll::until(SOON, "renewals", || imds.count("token", 200) >= 2);
    let remaining = "lamplighter_platform_token_expires_seconds{resource=\"mysql\"}";
    assert!(metric(&probed, remaining) > 0.0);
    // a token that has ended before it came is none; the one there is stays
    imds.set(&json!({"lifetime": -60}));
    let past = "lamplighter_platform_token_refreshes_total{outcome=\"failed\",resource=\"mysql\"}";
    poll::until(SOON, "a token of the past", || metric(&probed, past) >= 1.0);
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    imds.set(&json!({"lifetime": 8}));
    poll::until(SOON, "a good one", || who(&probed));
    imds.set(&json!({"status": {"token": 500}}));
    let rows = || probed.ask("/readyz?verbose").expect("an answer").text();
    poll::until(SOON, "the alarm", || {
        let rows = rows();
        let told = rows.contains("[!] platform:token-mysql: degraded");
        if told { Ok(()) } else { Err(rows) }
    });
    assert!(metric(&probed, remaining) > 0.0, "told while it is valid");
    poll::until(SOON, "the end of the token", || {
        rows().contains("[!] platform:token-mysql: down")
    });
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
    imds.set(&json!({"status": {}, "lifetime": 3600}));
    poll::until(LATER, "a good one", || metric(&probed, remaining) > 3000.0);
    assert!(rows().contains("[+] platform:token-mysql: ok"));
}

#[test]
fn a_workload_identity_and_a_user_assigned_one_are_as_good() {
    let cluster = Cluster::builder().schema(ACCOUNT).build();
    let entra = EntraMysql::start(&cluster);
    let imds = Imds::start();
    imds.set(&json!({"federated": "let me in", "identities": ["mine"]}));
    let workload = format!(
        "[platform]\nimds = \"off\"\n[platform.identity]\nkind = \"workload\"\nclient_id = \"c\"\ntenant_id = \"t\"\n\
         token_file = \"{{dir}}/federated\"\nauthority = \"{}\"",
        imds.url()
    );
    let probed = start(&cluster, &entra, &workload);
    poll::until(SOON, "a login", || who(&probed));
    assert_eq!(imds.count("token", 200), 0, "Entra itself was asked");

    let named = |id: &str| {
        format!(
            "{}\n[platform.identity]\nclient_id = \"{id}\"",
            managed(&imds)
        )
    };
    let probed = start(&cluster, &entra, &named("mine"));
    poll::until(SOON, "a login", || who(&probed));

    let probed = start(&cluster, &entra, &named("nobodys"));
    let refused =
        "lamplighter_platform_token_refreshes_total{outcome=\"refused\",resource=\"mysql\"}";
    poll::until(SOON, "the refusal", || metric(&probed, refused) >= 1.0);
    poll::until(SOON, "the reason", || {
        probed.agent.log().contains("Identity not found")
    });
    assert!(who(&probed).is_err());
    assert_eq!(probed.ask("/lb").expect("an answer").status, 200);
}

#[test]
fn storage_lets_the_machine_in_by_its_token_and_a_refused_one_is_one_refresh() {
    let storage = azurite::Server::start_with_tokens();
    storage.create_container("www");
    storage.put("www", "a.txt", "one");
    let imds = Imds::start();
    // good for a day says the provider; the server will not have it for so long
    imds.set(&json!({"true_lifetime": 12}));
    let config = format!(
        "[[sync]]\nname = \"site\"\ncontainer = \"{}\"\npath = \"{{dir}}/tree\"\nauth = \"managed-identity\"\ninterval = \"1s\"\n\
         tls = {{ ca = \"{}\" }}\n{}",
        storage.container_url("www"),
        storage.ca_path().display(),
        managed(&imds)
    );
    let mut probed = Probed::start(Agent::builder(env!("CARGO_BIN_EXE_lamplighter")), &config);
    probed.agent.wait_ready(SOON);
    let tree = probed.agent.dir().join("tree");
    poll::until(SOON, "a file", || tree.join("a.txt").exists());
    assert_eq!(imds.count("token", 200), 1);
    imds.set(&json!({"true_lifetime": null}));
    poll::until(SOON, "another token", || imds.count("token", 200) == 2);
    storage.put("www", "b.txt", "two");
    poll::until(SOON, "a file by the other token", || {
        tree.join("b.txt").exists()
    });
    assert_eq!(imds.count("token", 200), 2, "one refusal, one refresh");
    // the list that was refused went on with the other token: no pass failed
    let text = http::get(&probed.metrics, "/metrics")
        .expect("the metrics")
        .text();
    let failed = "lamplighter_sync_cycles_total{job=\"site\",result=\"failed\"}";
    let failed = text.lines().find_map(|line| line.strip_prefix(failed));
    assert!(
        failed.is_none_or(|count| count.trim() == "0"),
        "{failed:?}\n{}",
        probed.agent.log()
    );
    assert!(!probed.agent.log().contains("eyJ"));
}

/// How long the storage takes the first token, in seconds: several pages of a list, were they given.
const TRUE_LIFETIME: u32 = 10;

#[test]
fn a_token_that_ends_between_two_pages_of_a_list_is_one_refresh_and_the_list_goes_on() {
    let storage = azurite::Server::start_with_tokens();
    storage.create_container("www");
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        storage.put("www", name, name);
    }
    let pages = StoragePages::start(&storage, 2);
    let imds = Imds::start();
    imds.set(&json!({"true_lifetime": TRUE_LIFETIME}));
    let config = format!(
        "[[sync]]\nname = \"site\"\ncontainer = \"{}\"\npath = \"{{dir}}/tree\"\nauth = \"managed-identity\"\n\
         manifest = \"ignore\"\ninterval = \"1h\"\ntls = {{ ca = \"{}\" }}\n{}",
        pages.container_url("www"),
        storage.ca_path().display(),
        managed(&imds)
    );
    let mut probed = Probed::start(Agent::builder(env!("CARGO_BIN_EXE_lamplighter")), &config);
    let asked = |journal: &[String]| journal.iter().any(|line| line.starts_with("asked "));
    poll::until(SOON, "a later page to be asked for", || {
        asked(&pages.journal())
    });
    let fetched = Instant::now();
    let over = Duration::from_secs(u64::from(TRUE_LIFETIME) + 1);
    poll::until(SOON, "the token's end", || fetched.elapsed() > over);
    imds.set(&json!({"true_lifetime": null}));
    pages.release();
    let tree = probed.agent.dir().join("tree");
    poll::until(SOON, "every file", || {
        names.iter().all(|name| tree.join(name).exists())
    });
    probed.agent.wait_ready(SOON);
    let answers: Vec<String> = pages.journal();
    let answers: Vec<&str> = answers
        .iter()
        .filter(|line| !line.starts_with("asked "))
        .map(|line| line.split_once(' ').map_or("", |(status, _)| status))
        .collect();
    assert_eq!(
        answers,
        ["200", "401", "200", "200"],
        "one page was refused and asked for again, none from the beginning"
    );
    assert_eq!(imds.count("token", 200), 2, "one refusal, one refresh");
}
