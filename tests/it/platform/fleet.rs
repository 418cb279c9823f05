//! Twenty agents with the servers that all of them share: what hurts everybody empties no pool, what hurts one takes that one only.

use std::time::Duration;

use crate::probe::Probed;
use crate::probe::application_health::State;
use crate::support::agent::Agent;
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::poll;
use crate::support::redis;

const AGENTS: usize = 20;

/// Long enough for an agent to believe the others, had they something else to say.
const LONG: Duration = Duration::from_secs(12);

/// Twenty starts on a busy machine.
const START: Duration = Duration::from_secs(90);

fn machine(cluster: &Cluster, redis: &redis::Server) -> Probed {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("app", APP.1);
    builder.secret("mon", MON.1);
    let config = format!(
        "policy = {{ shed_after = \"1s\" }}\n[platform]\nimds = \"off\"\n[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\n\
         primary = \"{}\"\nuser = \"{}\"\npassword_file = \"{{dir}}/app\"\ntls = {{ ca = \"{}\" }}\nconnect_timeout = \"2s\"\n\
         [mysql.clients.web]\npeer_users = [\"root\"]\n[mysql.monitor]\nuser = \"{}\"\npassword_file = \"{{dir}}/mon\"\n\
         [redis]\nupstream = \"{}\"\n",
        cluster.address(0),
        APP.0,
        cluster.ca_path().display(),
        MON.0,
        redis.url(),
    );
    Probed::start(builder, &config)
}

/// Gives `machine` these passwords, and makes everybody log in again.
fn log_in_again(cluster: &Cluster, machine: &Probed, app: &str, mon: &str) {
    for (name, password) in [("app", app), ("mon", mon)] {
        std::fs::write(machine.agent.dir().join(name), password).expect("a password file");
    }
    for connection in cluster.connections(0) {
        if [APP.0, MON.0].contains(&&*connection.user) {
            // it may have ended by itself meanwhile
            let _gone = cluster.try_sql(0, &format!("KILL {}", connection.id));
        }
    }
}

/// How many are told to take no traffic, and how many are not healthy.
fn away(machines: &[Probed]) -> Vec<String> {
    let answers = machines.iter().enumerate().filter_map(|(number, machine)| {
        let answer = machine.ask("/lb").expect("an answer");
        let healthy = machine.state() == State::Healthy;
        (answer.status != 200 || !healthy).then(|| format!("{number}: {}", answer.text()))
    });
    answers.collect()
}

/// Nobody leaves for `span`.
#[track_caller]
fn all_stay(machines: &[Probed], span: Duration, what: &str) {
    poll::throughout(span, what, || match away(machines) {
        away if away.is_empty() => Ok(()),
        away => Err(format!("{away:?}")),
    });
}

/// Waits until everybody (or nobody) says that something is degraded.
#[track_caller]
fn all_degraded(machines: &[Probed], wanted: bool) {
    poll::until(START, "X-Degraded", || {
        let odd = machines.iter().position(|machine| {
            let answer = machine.ask("/lb");
            let named = answer.is_ok_and(|it| it.header("x-degraded").is_some());
            named != wanted
        });
        odd.map_or(Ok(()), |odd| Err(format!("not so at {odd}")))
    });
}

#[test]
fn what_hurts_everybody_empties_no_pool_and_what_hurts_one_takes_that_one_only() {
    let cluster = Cluster::builder().build();
    let redis = redis::Server::builder().start();
    let mut machines: Vec<Probed> = (0..AGENTS).map(|_| machine(&cluster, &redis)).collect();
    for machine in &mut machines {
        machine.agent.wait_ready(START);
    }
    let listed = |count: usize| {
        poll::until(START, "everybody on the fleet's list", || {
            let found = redis.cli(&["HLEN", "lmp:fleet:{}"]);
            if found.trim() == count.to_string() {
                Ok(())
            } else {
                Err(found)
            }
        });
    };
    listed(AGENTS);
    all_degraded(&machines, false);

    cluster.kill(0);
    all_degraded(&machines, true);
    all_stay(&machines, LONG, "MySQL is dead for all of them");
    redis.kill();
    all_stay(&machines, Duration::from_secs(4), "so is Redis");
    redis.start();
    cluster.start(0);
    all_degraded(&machines, false);
    listed(AGENTS);

    let lonely = 7;
    log_in_again(&cluster, &machines[lonely], "wrong", "wrong");
    machines[lonely].wait_within(START, 503);
    let told = machines[lonely].ask("/lb").expect("an answer").text();
    assert!(told.contains("others reach it"), "{told}");
    all_degraded(&machines[..lonely], false);
    let gone: Vec<String> = away(&machines);
    assert_eq!(gone.len(), 1, "{gone:?}");
    log_in_again(&cluster, &machines[lonely], APP.1, MON.1);
    machines[lonely].wait_within(START, 200);

    // whoever leaves is no longer one of the fleet
    machines[lonely].command("drain");
    listed(AGENTS - 1);
    machines[lonely].command("undrain");
    listed(AGENTS);
    assert!(machines[lonely].agent.stop().0.success());
    listed(AGENTS - 1);
}
