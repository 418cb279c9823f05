//! Twenty agents with the servers that all of them share: what hurts everybody empties no pool, what hurts one takes that one only.

use std::path::PathBuf;
use std::time::Duration;

use super::whole::builder;
use crate::probe::Probed;
use crate::probe::application_health::{self, State};
use crate::support::http::{self, Response};
use crate::support::mysql::{APP, Cluster, MON};
use crate::support::network::Network;
use crate::support::{poll, redis};

const AGENTS: usize = 20;

/// Long enough for an agent to believe the others, had they something else to say.
const LONG: Duration = Duration::from_secs(12);

/// Twenty starts on a busy machine.
const START: Duration = Duration::from_secs(90);

/// Where all of them find the servers.
const MYSQL: &str = "10.77.0.20:3306";
const REDIS: &str = "10.77.0.21:6379";

/// One of them, which has a link of its own to cut.
const LONELY: usize = 7;

/// Its network, that of the others, and where the servers are.
const SPACE: &str = "vm7";
const OTHERS: &str = "others";
const SWITCH: &str = "sw";

/// The network that an agent is in.
const fn space(number: usize) -> &'static str {
    match number {
        LONELY => SPACE,
        _ => OTHERS,
    }
}

/// Starts an agent in its network.
fn machine(number: usize, network: &Network, cluster: &Cluster, redis: &redis::Server) -> Probed {
    let by = network.by(space(number));
    let builder = builder().by(&by.each_ref().map(String::as_str));
    builder.secret("app", APP.1);
    builder.secret("mon", MON.1);
    let tls = |ca: PathBuf| {
        format!(
            "tls = {{ ca = \"{}\", server_name = \"127.0.0.1\" }}",
            ca.display()
        )
    };
    let config = format!(
        "policy = {{ shed_after = \"1s\" }}\n[platform]\nimds = \"off\"\n[mysql]\nlisten = [\"unix:{{dir}}/mysql.sock\"]\n\
         primary = \"{MYSQL}\"\nuser = \"{}\"\npassword_file = \"{{dir}}/app\"\n{}\nconnect_timeout = \"2s\"\n\
         [mysql.clients.web]\npeer_users = [\"root\"]\n[mysql.monitor]\nuser = \"{}\"\npassword_file = \"{{dir}}/mon\"\n\
         [redis]\nupstream = \"rediss://{REDIS}\"\n{}\n",
        APP.0,
        tls(cluster.ca_path()),
        MON.0,
        tls(redis.ca_path()),
    );
    Probed::start(builder, &config)
}

/// All of them.
struct Fleet {
    machines: Vec<Probed>,
    network: Network,
}

impl Fleet {
    fn start(cluster: &Cluster, redis: &redis::Server) -> Self {
        let network = Network::up(&[SPACE, OTHERS]);
        for (address, server) in [(MYSQL, cluster.address(0)), (REDIS, redis.address())] {
            let (host, _) = address.split_once(':').expect("a port");
            network.ip(SWITCH, &format!("addr add {host}/32 dev br0"));
            network.forward(SWITCH, address, &server);
        }
        let start = |number| machine(number, &network, cluster, redis);
        let mut machines: Vec<Probed> = (0..AGENTS).map(start).collect();
        for machine in &mut machines {
            machine.agent.wait_ready(START);
        }
        Self { machines, network }
    }

    fn ask(&self, number: usize, path: &str) -> Result<Response, String> {
        let probe = &self.machines[number].probe;
        self.network
            .inside(space(number), || http::get(probe, path))
    }

    /// Whether this one takes traffic, and is healthy.
    fn stays(&self, number: usize) -> Result<(), String> {
        let lb = self.ask(number, "/lb")?;
        let health = self.ask(number, "/health/azure")?;
        let state = application_health::read(Some((health.status, &*health.body)));
        if lb.status == 200 && state == State::Healthy {
            Ok(())
        } else {
            Err(format!("{number}: {state:?} {}", lb.text()))
        }
    }

    /// Nobody but the lonely one, if `without` it, leaves for `span`.
    #[track_caller]
    fn stay(&self, without: bool, span: Duration, what: &str) {
        let watched = (0..AGENTS).filter(|number| !without || *number != LONELY);
        let watched: Vec<usize> = watched.collect();
        poll::throughout(span, what, || {
            watched.iter().try_for_each(|number| self.stays(*number))
        });
    }

    /// Waits until everybody (or nobody) says that something is degraded.
    #[track_caller]
    fn all_degraded(&self, wanted: bool) {
        poll::until(START, "X-Degraded", || {
            let odd = (0..AGENTS).find(|number| {
                let answer = self.ask(*number, "/lb");
                let named = answer.is_ok_and(|it| it.header("x-degraded").is_some());
                named != wanted
            });
            odd.map_or(Ok(()), |odd| Err(format!("not so at {odd}")))
        });
    }

    /// Waits until the lonely one has left for a reason that has `why` in it, and sees that it is the only one.
    #[track_caller]
    fn lonely_leaves(&self, why: &str) {
        poll::until(START, why, || {
            let answer = self.ask(LONELY, "/lb")?;
            let text = answer.text();
            if answer.status == 503 && text.contains(why) {
                Ok(())
            } else {
                Err(text)
            }
        });
        self.stay(true, Duration::from_secs(2), "what one lost");
    }

    /// Waits until everybody serves and finds nothing degraded.
    #[track_caller]
    fn all_back(&self) {
        poll::until(START, "the lonely one", || self.stays(LONELY));
        self.all_degraded(false);
    }
}

#[test]
fn what_hurts_everybody_empties_no_pool_and_what_hurts_one_takes_that_one_only() {
    let cluster = Cluster::builder().build();
    let redis = redis::Server::builder().tls().start();
    let mut fleet = Fleet::start(&cluster, &redis);
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
    fleet.all_degraded(false);

    cluster.kill(0);
    fleet.all_degraded(true);
    fleet.stay(false, LONG, "MySQL is dead for all of them");
    redis.kill();
    fleet.stay(false, Duration::from_secs(4), "so is Redis");
    redis.start();
    cluster.start(0);
    fleet.all_degraded(false);
    listed(AGENTS);

    // the way to one server, then the whole network of one machine
    let (host, _) = MYSQL.split_once(':').expect("a port");
    let route = |verb: &str| {
        let words = format!("route {verb} unreachable {host}/32");
        fleet.network.ip(SPACE, &words);
    };
    route("add");
    fleet.lonely_leaves("others reach it");
    route("del");
    fleet.all_back();
    fleet.network.cut(SPACE);
    fleet.lonely_leaves("no network interface is up");
    fleet.network.heal(SPACE);
    fleet.all_back();
    listed(AGENTS);

    // whoever leaves is no longer one of the fleet
    let leaver = &mut fleet.machines[LONELY];
    leaver.command("drain");
    listed(AGENTS - 1);
    leaver.command("undrain");
    listed(AGENTS);
    assert!(leaver.agent.stop().0.success());
    listed(AGENTS - 1);
}
