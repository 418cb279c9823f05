//! A primary that is away for a moment: what was not sent yet waits for it, and is done once.

pub(crate) mod chaos;
mod name;
mod refused;
mod silent;
mod stall;
mod switch;

use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::support::mysql::Cluster;
use crate::support::mysql::raw::{Answer, Login, Part, text_rows};
use crate::support::poll;

/// How many write while the primary is away; more than the pool has connections.
const WRITERS: usize = 8;

fn with_pool(cluster: &Cluster, pool: &str) -> Endpoint {
    let options = Options {
        pool: pool.to_owned(),
        ..Options::default()
    };
    start(cluster, options)
}

/// A client of the endpoint whose statements may take as long as a failover.
fn login(endpoint: &Endpoint) -> Login {
    let mut login = Login::new(endpoint.socket(), "web", "");
    login.database = Some("app".to_owned());
    login
}

#[track_caller]
fn expect_ok(answer: &Answer) {
    assert!(
        matches!(answer.first(), Some(Part::Ok { .. })),
        "{answer:?}"
    );
}

/// The only value of an answer; empty if there is none.
fn value(answer: &Answer) -> String {
    let rows = text_rows(answer);
    let value = rows.first().and_then(|row| row[0].clone());
    String::from_utf8_lossy(&value.unwrap_or_default()).into_owned()
}

/// The series of the statements that wait for the primary at `address`.
fn waiting_at(address: &str) -> String {
    format!("lamplighter_mysql_failover_waiting{{server=\"{address}\"}}")
}

/// How many statements wait for the primary.
fn waiting(endpoint: &Endpoint, cluster: &Cluster) -> f64 {
    endpoint.metric(&waiting_at(&cluster.address(0)))
}

#[test]
fn a_primary_that_is_away_for_a_moment_costs_a_wait_and_no_error() {
    let cluster = Cluster::builder()
        .schema("CREATE TABLE app.written (id INT); GRANT INSERT ON app.written TO app;")
        .build();
    let pool = "max_server_connections = 4\nfailover_wait = \"60s\"";
    let endpoint = with_pool(&cluster, pool);
    let warm = "echo one(endpoint(), 'SELECT 1');";
    assert_eq!(endpoint.code(warm).run().expect_ok(), "1");
    cluster.kill(0);
    let writers: Vec<_> = (0..WRITERS)
        .map(|id| {
            let code = format!(
                "echo error_of(fn () => endpoint()->query('INSERT INTO written VALUES ({id})'));"
            );
            endpoint.code(&code).spawn()
        })
        .collect();
    // those who have a place wait for the server, the others for a place
    poll::until(PATIENCE, "writers that wait", || {
        let held = waiting(&endpoint, &cluster);
        if held > 3.5 { Ok(()) } else { Err(held) }
    });
    cluster.start(0);
    for writer in writers {
        assert_eq!(writer.wait(PATIENCE * 3).stdout, "0");
    }
    let rows = cluster.sql(0, "SELECT COUNT(*), COUNT(DISTINCT id) FROM app.written");
    assert_eq!(rows[0], [WRITERS.to_string(), WRITERS.to_string()]);
    assert_eq!(waiting(&endpoint, &cluster), 0.0);
}

#[test]
fn a_primary_that_stays_away_is_told_with_how_long_was_waited() {
    let cluster = Cluster::builder().build();
    cluster.kill(0);
    let text = "try { endpoint()->query('DO 1'); } catch (Throwable $e) { echo $e->getMessage(); }";
    let waited = with_pool(&cluster, "failover_wait = \"300ms\"");
    let told = waited.code(text).run().expect_ok();
    assert!(told.contains("waited 300ms"), "{told}");
    let at_once = with_pool(&cluster, "failover_wait = \"0s\"");
    let told = at_once.code(text).run().expect_ok();
    assert!(
        told.contains("cannot connect") && !told.contains("waited"),
        "{told}"
    );
}
