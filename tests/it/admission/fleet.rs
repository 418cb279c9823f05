//! Instances that share the connections of a server: as many agents as `LAMPLIGHTER_FLEET` says, four without it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use super::{link, ok};
use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::Cluster;
use crate::support::poll;
use crate::support::redis::Server;

/// How long the fleet may take to agree.
const AGREEMENT: Duration = Duration::from_secs(60);

/// Connections that each instance of a full fleet has for statements.
const EACH: usize = 4;

/// Connections that each may have beside them.
const BESIDE: usize = 4;

fn size() -> usize {
    let text = std::env::var("LAMPLIGHTER_FLEET").unwrap_or_default();
    text.parse().unwrap_or(4)
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

/// Waits until each may have so many connections for statements.
fn wait_limits(cluster: &Cluster, fleet: &[Endpoint], expected: usize) {
    let series = format!(
        "lamplighter_mysql_connections_limit{{server=\"{}\"}}",
        cluster.address(0)
    );
    let expected = expected.to_string();
    poll::until(AGREEMENT, "each has its part", || {
        let limits = fleet.iter().map(|it| it.metric(&series).to_string());
        let limits: Vec<_> = limits.collect();
        if limits.iter().all(|limit| *limit == expected) {
            Ok(())
        } else {
            Err(format!("{limits:?} instead of {expected}"))
        }
    });
}

/// All connections of the agents' accounts.
fn connections(cluster: &Cluster) -> usize {
    let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE user IN ('app', 'mon')";
    cluster.sql(0, sql)[0][0].parse().expect("a number")
}

/// Two busy clients for each instance while `during` goes on; none of their statements may fail.
fn under_load<T>(fleet: &[Endpoint], during: impl FnOnce() -> T) -> T {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for endpoint in fleet.iter().chain(fleet) {
            scope.spawn(|| {
                let mut client = link(endpoint, "web");
                while !done.load(Ordering::Relaxed) {
                    ok(&mut client, "SELECT SLEEP(0.01)");
                }
            });
        }
        let result = during();
        done.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_fleet_that_grows_and_shrinks_never_has_more_connections_than_its_budget() {
    let size = size();
    let cluster = Cluster::builder().cnf("max_connections = 1000\n").build();
    let redis = Server::builder().start();
    // as if the fleet had been there before: a list that was just made gives each what it may have alone
    let list = format!("lmp:ration:{{{}}}", cluster.address(0));
    redis.cli(&["HSET", &list, "", "0"]);
    let most = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(connections(&cluster), Ordering::Relaxed);
            }
        });
        let mut fleet = vec![instance(&cluster, &redis)];
        wait_limits(&cluster, &fleet, size * EACH);
        let more = under_load(&fleet, || {
            let more: Vec<_> = (1..size).map(|_| instance(&cluster, &redis)).collect();
            wait_limits(&cluster, &fleet, EACH);
            more
        });
        fleet.extend(more);
        under_load(&fleet, || wait_limits(&cluster, &fleet, EACH));
        let left = (size / 10).max(1);
        let leaving = fleet.split_off(left);
        under_load(&fleet, || {
            drop(leaving);
            wait_limits(&cluster, &fleet, size * EACH / left);
        });
        // without Redis each takes what is safe alone
        redis.kill();
        under_load(&fleet, || wait_limits(&cluster, &fleet, EACH));
        done.store(true, Ordering::Relaxed);
    });
    let most = most.load(Ordering::Relaxed);
    let budget = size * (EACH + BESIDE);
    assert!(most <= budget, "{most} of {budget}");
    println!("{size} instances: at most {most} connections of {budget}");
}
