//! What an operator can ask about statements: `mysql top`, `mysql pins`, `explain`, beside a real server.

use serde_json::Value;

use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::Cluster;

/// A command against the agent of `endpoint`: exit code and output.
fn ask(endpoint: &Endpoint, args: &[&str]) -> (Option<i32>, String) {
    let config = endpoint.agent.config_path().display().to_string();
    let args: Vec<&str> = args.iter().copied().chain(["--config", &config]).collect();
    let (status, output, errors) = endpoint.agent.command(&args);
    (status.code(), output + &errors)
}

fn json(endpoint: &Endpoint, args: &[&str]) -> Value {
    let (code, output) = ask(endpoint, args);
    assert_eq!(code, Some(0), "{output}");
    serde_json::from_str(&output).unwrap_or_else(|error| panic!("{error}: {output}"))
}

/// The line of `mysql top` about the digest with this text.
fn digest(top: &Value, text: &str) -> Value {
    let digests = top["digests"].as_array().expect("a list");
    let found = digests.iter().find(|digest| digest["text"] == text);
    found
        .unwrap_or_else(|| panic!("no {text} in {top:#}"))
        .clone()
}

#[test]
fn statements_are_counted_by_the_servers_own_digest() {
    let cluster = Cluster::builder().replicas(1).build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_readable(&cluster, 2);
    let code = "$l = endpoint();
        for ($i = 1; $i <= 6; $i++) one($l, \"SELECT v FROM kv WHERE id = $i\");
        $l->query('SELECT id FROM kv WHERE id <= 30');
        error_of(fn() => $l->query('SELECT missing FROM kv'));
        $l->query(\"UPDATE kv SET v = 'x' WHERE id IN (1, 2, 3)\");
        one($l, 'SELECT v FROM kv WHERE id = 2');
        $s = $l->prepare('SELECT v FROM kv WHERE id = ?');
        for ($i = 1; $i <= 4; $i++) { $s->bind_param('i', $i); $s->execute(); $s->get_result()->fetch_row(); }";
    endpoint.code(code).run().expect_ok();
    let top = json(&endpoint, &["mysql", "top", "--json"]);
    let text = &cluster.sql(
        0,
        "USE app; SELECT STATEMENT_DIGEST_TEXT('SELECT v FROM kv WHERE id = 1')",
    )[0][0];
    let point = digest(&top, text);
    // as text, and prepared
    assert_eq!(point["calls"], 11, "{point:#}");
    assert_eq!(point["rows_sent"], 11);
    assert_eq!(point["errors"], 0);
    // those behind the UPDATE by whoever has it
    let by = |server: &str| point["routes"][server].as_u64().expect("a number");
    assert!(by("replica") >= 6, "{point:#}");
    assert_eq!(by("replica") + by("primary"), 11, "{point:#}");
    let p99 = point["p99_seconds"].as_f64().expect("a number");
    assert!(p99 > 0.0 && p99 <= point["seconds"].as_f64().expect("a number") * 1.13);
    let rows = digest(&top, "SELECT `id` FROM `kv` WHERE `id` <= ?");
    assert_eq!(rows["rows_sent"], 30);
    assert!(rows["bytes_sent"].as_u64() > Some(100), "{rows:#}");
    let failed = digest(&top, "SELECT `missing` FROM `kv`");
    assert_eq!(
        (&failed["calls"], &failed["errors"]),
        (&1.into(), &1.into())
    );
    let changed = digest(&top, "UPDATE `kv` SET `v` = ? WHERE `id` IN (...)");
    assert_eq!(changed["rows_affected"], 3);
    assert!(
        !top.to_string().contains("'x'"),
        "a value of a statement is shown"
    );
    let (code, human) = ask(&endpoint, &["mysql", "top", "--limit", "3"]);
    assert_eq!((code, human.lines().count()), (Some(0), 5), "{human}");
    assert!(endpoint.metric("lamplighter_mysql_digests") > 3.5);
}

#[test]
fn who_keeps_a_connection_is_listed_while_it_lasts() {
    let cluster = Cluster::builder().build();
    let endpoint = start(&cluster, Options::default());
    let code = "$l = endpoint();
        $l->query('LOCK TABLES kv WRITE');
        echo $l->thread_id, ' ';
        echo file_get_contents('php://stdin', false, null, 0, 0), shell_exec(getenv('ASK'));
        $l->query('UNLOCK TABLES');
        $l->query('SELECT 1');";
    let config = endpoint.agent.config_path().display().to_string();
    let binary = env!("CARGO_BIN_EXE_lamplighter");
    let command = format!("{binary} mysql pins --json --config {config}");
    let output = endpoint
        .code(code)
        .env(&[("ASK", &command)])
        .run()
        .expect_ok();
    let (client, pins) = output.split_once(' ').expect("two words");
    let pins: Value = serde_json::from_str(pins).expect("JSON");
    let pin = &pins["pins"][0];
    assert_eq!(pin["client"].to_string(), client);
    assert_eq!(pin["reason"], "lock_tables", "{pins:#}");
    assert_eq!(pin["text"], "LOCK TABLES `kv` WRITE");
    assert_eq!(
        (&pin["user"], &pin["server"]),
        (&"web".into(), &cluster.address(0).into())
    );
    // afterwards it is counted with its digest, and nobody is listed
    assert_eq!(
        json(&endpoint, &["mysql", "pins", "--json"])["pins"],
        Value::Array(Vec::new())
    );
    let top = json(&endpoint, &["mysql", "top", "--json"]);
    let locked = digest(&top, "LOCK TABLES `kv` WRITE");
    assert_eq!(locked["pins"][0]["reason"], "lock_tables", "{locked:#}");
    assert_eq!(locked["pins"][0]["count"], 1);
    let (code, human) = ask(&endpoint, &["mysql", "pins"]);
    assert_eq!(
        (code, human.trim()),
        (Some(0), "nobody keeps a server connection")
    );
}

#[test]
fn a_statement_is_explained_with_and_without_the_agent() {
    let cluster = Cluster::builder().replicas(1).build();
    let endpoint = start(&cluster, Options::default());
    endpoint.wait_readable(&cluster, 2);
    endpoint
        .code("$l = endpoint(); one($l, 'SELECT v FROM kv WHERE id = 1');")
        .run()
        .expect_ok();
    let sql = "SELECT v FROM kv WHERE id = 77";
    let live = json(&endpoint, &["explain", "--json", sql]);
    assert_eq!(
        (&live["target"], &live["kind"]),
        (&"replica".into(), &"select".into())
    );
    assert_eq!(live["live"]["replicas"][0]["fit"], true, "{live:#}");
    assert_eq!(live["live"]["seen"]["calls"], 1, "{live:#}");
    assert_eq!(live["digest"], live["live"]["seen"]["id"]);
    let offline = json(&endpoint, &["explain", "--offline", "--json", sql]);
    assert_eq!(
        (&offline["target"], &offline["live"]),
        (&"replica".into(), &Value::Null)
    );
    let (code, human) = ask(&endpoint, &["explain", "SELECT GET_LOCK('a', 1)"]);
    assert_eq!(code, Some(0), "{human}");
    assert!(
        human.contains("kept (user_lock) until RELEASE_ALL_LOCKS()"),
        "{human}"
    );
    // an agent that serves no MySQL has nobody to ask, and says so
    cluster.stop(1);
    let fit = |_: &str| {
        json(&endpoint, &["explain", "--json", sql])["live"]["replicas"][0]["fit"].clone()
    };
    crate::support::poll::until(crate::endpoint::PATIENCE, "the replica to be unfit", || {
        if fit("") == Value::Bool(false) {
            Ok(())
        } else {
            Err("fit")
        }
    });
    let (_, human) = ask(&endpoint, &["explain", sql]);
    assert!(human.contains("goes to      primary"), "{human}");
    let (code, output) = endpoint_less(&["mysql", "top"]);
    assert_eq!(code, Some(1), "{output}");
    let (code, output) = endpoint_less(&["explain", "SELECT 1"]);
    assert_eq!(code, Some(0), "{output}");
}

/// A command where no agent runs.
fn endpoint_less(args: &[&str]) -> (Option<i32>, String) {
    let scratch = crate::support::scratch::Scratch::new("no-agent");
    let socket = scratch.join("admin.sock").display().to_string();
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_lamplighter"))
        .args(args)
        .args(["--admin-socket", &socket])
        .output()
        .expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}
