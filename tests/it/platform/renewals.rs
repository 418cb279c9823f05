//! Tokens that end while PHP talks to Redis: each connection shows the new one in its stream, in time, and nobody notices.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;

use super::{SOON, wait_row};
use crate::probe::Probed;
use crate::support::imds::Imds;
use crate::support::{php, poll, redis};

/// How long the first token lives, in seconds, where the environment says nothing else (`make renewals` does). So short a one is
/// renewed with less than three minutes left.
const LIFETIME: u32 = 16;

/// How much longer the others do, so that one can be waited for in vain for a while.
const LONGER: u32 = 16;

/// What Microsoft asks for: a new token is shown so long before the old one ends.
const EARLY: Duration = Duration::from_secs(180);

/// What each client does until it is told to stop.
const MANNERS: [&str; 4] = ["pipeline", "pipeline", "pipeline", "watched"];

fn lifetime() -> u32 {
    let given = std::env::var("LAMPLIGHTER_TOKEN_LIFETIME").ok();
    given.map_or(LIFETIME, |text| text.parse().expect("seconds"))
}

/// A Redis that knows an identity by its tokens, each a user of its own, and an agent in front of it.
struct Site {
    probed: Probed,
    imds: Imds,
    redis: redis::Server,
    lifetime: u32,
}

impl Site {
    fn start() -> Self {
        let redis = redis::Server::builder().tls().start();
        let (imds, lifetime) = (Imds::start(), lifetime());
        imds.set(&json!({
            "lifetime": lifetime,
            "object_id": "token-{n}",
            "redis": redis.socket(),
        }));
        let config = format!(
            "[platform]\nimds = \"{}\"\n[redis]\nlisten = [\"unix:{{dir}}/redis.sock\"]\nupstream = \"{}\"\n\
             auth = \"managed-identity\"\ntls = {{ ca = \"{}\" }}\n",
            imds.url(),
            redis.url(),
            redis.ca_path().display(),
        );
        let mut probed = Probed::start(super::whole::builder(), &config);
        probed.agent.wait_ready(SOON);
        poll::until(SOON, "the first token", || imds.count("token", 200) > 0);
        imds.set(&json!({"lifetime": lifetime + LONGER}));
        Self {
            probed,
            imds,
            redis,
            lifetime,
        }
    }

    /// The agent's connections by their number, with the token that was shown last on each.
    fn connections(&self) -> BTreeMap<u64, usize> {
        let address = format!("laddr={}", self.redis.address());
        let list = self.redis.cli(&["CLIENT", "LIST"]);
        let ours = list.lines().filter(|line| line.contains(&address));
        let numbers = ours.filter_map(|line| {
            let field = |name: &str| line.split(' ').find_map(|it| it.strip_prefix(name));
            let token = field("user=token-")?.parse().ok()?;
            Some((field("id=")?.parse().ok()?, token))
        });
        numbers.collect()
    }

    /// More than any token lives.
    fn limit(&self) -> Duration {
        SOON + Duration::from_secs((self.lifetime + LONGER).into())
    }

    /// Waits until each connection of `before` was shown token `number` or a later one.
    #[track_caller]
    fn wait_shown(&self, before: &BTreeMap<u64, usize>, number: usize) {
        poll::until(
            self.limit(),
            "every connection to have shown its token",
            || {
                let now = self.connections();
                let late = before
                    .keys()
                    .find(|id| now.get(id).is_none_or(|it| *it < number));
                late.map_or(Ok(()), |id| Err(format!("{id} of {now:?}")))
            },
        );
    }

    /// When the first token ends.
    fn first_end(&self) -> SystemTime {
        let journal = self.imds.journal();
        let first = journal.iter().find(|it| it["endpoint"] == "token");
        let at = first.and_then(|it| it["at"].as_f64());
        let life = Duration::from_secs(self.lifetime.into());
        SystemTime::UNIX_EPOCH + Duration::from_secs_f64(at.expect("it was asked for")) + life
    }

    /// A client that goes on until it is told to stop.
    fn client(&self, number: usize, manner: &str) -> php::Running {
        let dir = self.probed.agent.dir().display().to_string();
        let script = php::Script::file("stream.php");
        script
            .env(&[
                ("AGENT", &dir),
                ("KEY", &format!("k{number}")),
                ("MANNER", manner),
            ])
            .spawn()
    }

    /// How far client `number` is.
    fn count(&self, number: usize) -> u64 {
        let file = self.probed.agent.dir().join(format!("k{number}.count"));
        let text = std::fs::read_to_string(file).unwrap_or_default();
        text.parse().unwrap_or_default()
    }

    /// Waits until every client has got further.
    #[track_caller]
    fn wait_progress(&self) {
        for number in 0..MANNERS.len() {
            let before = self.count(number);
            poll::until(SOON, "the client's commands", || {
                self.count(number) > before
            });
        }
    }
}

#[test]
fn a_token_that_ends_is_replaced_in_the_stream_of_every_connection_and_no_command_is_lost() {
    let site = Site::start();
    // the endpoint's own, and the agent's for itself
    let connections = poll::until(SOON, "the agent's connections", || {
        Some(site.connections()).filter(|it| it.len() >= 4)
    });
    let clients: Vec<_> = (0..)
        .zip(MANNERS)
        .map(|(number, manner)| site.client(number, manner))
        .collect();
    site.wait_progress();

    site.wait_shown(&connections, 2);
    let left = site.first_end().duration_since(SystemTime::now());
    eprintln!("the second token was shown with {left:?} of the first left");
    if Duration::from_secs(site.lifetime.into()) > 2 * EARLY {
        assert!(left.is_ok_and(|left| left >= EARLY));
    }

    // no new one comes: told while the old one is good, and the commands go on
    site.imds.set(&json!({"status": {"token": 500}}));
    wait_row(
        site.limit(),
        &site.probed,
        "[!] platform:token-redis: degraded",
    );
    site.wait_progress();
    site.imds.set(&json!({"status": {}}));
    site.wait_shown(&connections, 3);
    wait_row(SOON, &site.probed, "[+] platform:token-redis: ok");
    // whoever had not shown another by now is cut off here
    poll::until(site.limit(), "the end of the first token", || {
        let users = site.redis.cli(&["ACL", "USERS"]);
        users.lines().all(|user| user != "token-1")
    });
    site.wait_progress();
    std::fs::write(site.probed.agent.dir().join("enough"), "").expect("a file");
    for client in clients {
        assert_eq!(client.wait(SOON).expect_ok(), "whole");
    }
    let now = site.connections();
    assert!(
        connections.keys().all(|id| now.contains_key(id)),
        "{now:?} instead of {connections:?}"
    );
    let log = site.probed.agent.log();
    assert!(!log.contains("has ended") && !log.contains("eyJ"), "{log}");
}
