//! Instances that share the connections of a server: as many agents as `LAMPLIGHTER_FLEET` says, four without it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{link, ok};
use crate::benches;
use crate::crosstalk::number;
use crate::endpoint::{Endpoint, Options, PATIENCE, start};
use crate::support::mysql::Cluster;
use crate::support::poll;
use crate::support::redis::Server;

/// How long the fleet may take to agree, and each of its instances more.
const AGREEMENT: Duration = Duration::from_secs(60);
const AGREEMENT_EACH: Duration = Duration::from_secs(2);

/// Connections that each instance of a full fleet has for statements.
const EACH: usize = 4;

/// Connections that each may have beside them.
const BESIDE: usize = 4;

fn size() -> usize {
    usize::try_from(number("LAMPLIGHTER_FLEET", 4)).expect("a small number")
}

fn instance(cluster: &Cluster, redis: &Server) -> Endpoint {
    let budget = size() * (EACH + BESIDE);
    let pool = format!(
        "fleet_budget = {budget}\nfleet_size_max = {}\nwait_timeout = \"20s\"\n[redis]\nupstream = \"{}\"",
        size(),
        redis.url()
    );
    let options = Options {
        pool,
        ..Options::default()
    };
    start(cluster, options)
}

/// Waits until each may have so many connections for statements; tells how long that took.
fn wait_limits(cluster: &Cluster, fleet: &[Endpoint], expected: usize) {
    let series = format!(
        "lamplighter_mysql_connections_limit{{server=\"{}\"}}",
        cluster.address(0)
    );
    let expected = expected.to_string();
    let begun = Instant::now();
    let each = u32::try_from(size()).expect("a small number");
    poll::until(
        AGREEMENT + AGREEMENT_EACH * each,
        "each has its part",
        || {
            let limits = fleet.iter().map(|it| it.metric(&series).to_string());
            let limits: Vec<_> = limits.collect();
            if limits.iter().all(|limit| *limit == expected) {
                Ok(())
            } else {
                Err(format!("{limits:?} instead of {expected}"))
            }
        },
    );
    benches::tell(&format!(
        "{} instances, {expected} connections each, after {:.1?}",
        fleet.len(),
        begun.elapsed()
    ));
}

/// The most connections that the server has had at once since its start, those of the test itself among them.
fn most(cluster: &Cluster) -> usize {
    let rows = cluster.sql(0, "SHOW GLOBAL STATUS LIKE 'Max_used_connections'");
    rows[0][1].parse().expect("a number")
}

/// Two busy clients for each instance while `during` goes on; none of their statements may fail. The more instances, the slower they
/// are: the server and its clients share a machine.
fn under_load<T>(fleet: &[Endpoint], served: &AtomicU64, during: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    let sql = format!(
        "SELECT SLEEP({})",
        0.0025 * f64::from(u32::try_from(size()).expect("small"))
    );
    std::thread::scope(|scope| {
        for endpoint in fleet.iter().chain(fleet) {
            scope.spawn(|| {
                let mut client = link(endpoint, "web");
                while !done.load(Ordering::Relaxed) {
                    ok(&mut client, &sql);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let result = during();
        done.store(true, Ordering::Relaxed);
        result
    })
}

/// Until each of the clients of a whole fleet was served a few times.
fn wait_served(served: &AtomicU64) {
    let few = 10 * u64::try_from(size()).expect("a small number");
    let end = served.load(Ordering::Relaxed) + few;
    poll::until(PATIENCE * 3, "clients that are served", || {
        served.load(Ordering::Relaxed) >= end
    });
}

#[test]
fn a_fleet_that_grows_and_shrinks_never_has_more_connections_than_its_budget() {
    let size = size();
    let cluster = Cluster::builder().cnf("max_connections = 1000\n").build();
    let redis = Server::builder().start();
    // as if the fleet had been there before: a list that was just made gives each what it may have alone
    let list = format!("lmp:ration:{{{}}}", cluster.address(0));
    redis.cli(&["HSET", &list, "", "0"]);
    cluster.sql(0, "FLUSH STATUS");
    let served = AtomicU64::new(0);
    let mut fleet = vec![instance(&cluster, &redis)];
    wait_limits(&cluster, &fleet, size * EACH);
    let more = under_load(&fleet, &served, || {
        let more: Vec<_> = (1..size).map(|_| instance(&cluster, &redis)).collect();
        wait_limits(&cluster, &fleet, EACH);
        more
    });
    fleet.extend(more);
    under_load(&fleet, &served, || {
        wait_limits(&cluster, &fleet, EACH);
        wait_served(&served);
    });
    let left = (size / 10).max(1);
    let leaving = fleet.split_off(left);
    under_load(&fleet, &served, || {
        drop(leaving);
        wait_limits(&cluster, &fleet, size * EACH / left);
    });
    // without Redis each takes what is safe alone
    redis.kill();
    under_load(&fleet, &served, || wait_limits(&cluster, &fleet, EACH));
    let (most, budget) = (most(&cluster), size * (EACH + BESIDE));
    benches::tell(&format!(
        "{size} instances: at most {most} connections of {budget}, {} statements, none failed",
        served.load(Ordering::Relaxed)
    ));
    // one of them is the test's own
    assert!(most <= budget + 1, "{most} of {budget}");
}
