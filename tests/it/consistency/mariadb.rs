//! The same on MariaDB, whose writes have no names that the agent could hear: by the heartbeat, and by what replicas say of themselves.

use super::{BEHIND, Reading, all_pairs, open, pairs, run, schema, value, waits};
use crate::endpoint::{Endpoint, Options, PATIENCE, start_on_mariadb};
use crate::support::mariadb::MariaDb;
use crate::support::poll;

/// A primary, a replica that keeps up, and one that does not.
struct Servers {
    source: MariaDb,
    near: MariaDb,
    far: MariaDb,
}

impl Servers {
    fn start() -> Self {
        let source = MariaDb::source();
        source.sql(&schema());
        // one after the other: they get certificates of the same authority
        let (near, far) = (source.replica(0), source.replica(BEHIND));
        Self { source, near, far }
    }

    fn endpoint(&self) -> Endpoint {
        let replicas = [&self.near, &self.far].map(MariaDb::address);
        let options = Options {
            keys: "heartbeat = { interval = \"100ms\" }\nconsistency = \"instance\"".to_owned(),
            replicas: Some(replicas.to_vec()),
            ..Options::default()
        };
        let endpoint = start_on_mariadb(&self.source, options);
        endpoint.wait_fit(&replicas, 2);
        endpoint
    }
}

#[test]
fn on_mariadb_reads_see_what_was_written_and_go_to_the_replicas_that_are_fit() {
    let servers = Servers::start();
    let endpoint = servers.endpoint();
    let apart = Reading::Apart(&endpoint);
    all_pairs("instance, MariaDB", &endpoint, apart, pairs(100));
    assert_eq!(waits(&endpoint, "caught_up"), 0.0);
    let far = servers.far.address();
    let lag = format!("lamplighter_mysql_replica_lag_seconds{{server=\"{far}\"}}");
    poll::until(PATIENCE, "the lag to be seen", || {
        let lag = endpoint.metric(&lag);
        if lag > f64::from(BEHIND) - 1.0 {
            Ok(())
        } else {
            Err(lag)
        }
    });
    a_transaction_that_only_reads_stays_on_a_replica(&endpoint);
    let near = [servers.near.address()];
    servers.near.sql("SET GLOBAL read_only=OFF");
    endpoint.wait_fit(&near, 0);
    servers.near.sql("SET GLOBAL read_only=ON");
    endpoint.wait_fit(&near, 1);
    // without a heartbeat it is what the replica says of itself, and nothing is not zero
    servers.source.sql("DROP TABLE lamplighter.heartbeat");
    servers.near.sql("STOP SLAVE");
    endpoint.wait_fit(&near, 0);
    servers.near.sql("START SLAVE");
    endpoint.wait_fit(&near, 1);
}

fn a_transaction_that_only_reads_stays_on_a_replica(endpoint: &Endpoint) {
    let mut link = open(endpoint);
    // by whom nothing was written: any replica will do
    run(
        &mut link,
        "START TRANSACTION READ ONLY /* lamplighter:key=nobody */",
    );
    let server = value(&mut link, "SELECT @@server_id");
    assert_ne!(server, 1, "the primary");
    for _ in 0..3 {
        assert_eq!(value(&mut link, "SELECT @@server_id"), server);
    }
    run(&mut link, "COMMIT");
    assert_eq!(value(&mut link, "SELECT @@server_id"), 1);
}
