//! Random sessions, played step by step on a server directly and on its twin through the endpoint: every packet must be equal.
//!
//! `make fuzz-sessions` plays many more than the test does. A failure prints the seed, the least steps that still show it, and the
//! command that plays it again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use crate::endpoint::{Endpoint, Options, start};
use crate::support::mysql::raw::{Link, Login, Part};
use crate::support::mysql::{APP, Cluster};

mod differences;
mod generate;
mod grammar;
mod player;
mod scenes;
mod steps;

pub(crate) use generate::Dice;
use generate::Profile;
use player::{Player, Side};
use steps::Step;

/// Clients of a session.
const CLIENTS: usize = 4;

/// Steps of a session; some make several commands.
const STEPS: usize = 140;

/// The seeds a plain test run plays.
const SEEDS: std::ops::Range<u64> = 0..10;

/// How long a failing session may be shortened.
const SHORTEN: Duration = Duration::from_secs(40);

/// Servers of a busy machine may be silent for long.
const PATIENT: &str = "silence_max = \"10m\"\n";

/// What a seed plays on, by its remainder.
const STAGES: [Stage; 5] = [
    Stage {
        pool: 1,
        light: true,
        age_max: None,
    },
    Stage {
        pool: 2,
        light: false,
        age_max: None,
    },
    Stage {
        pool: 3,
        light: false,
        age_max: None,
    },
    // no connection is used twice: whatever a client has set moves to a new one with every statement
    Stage {
        pool: 2,
        light: false,
        age_max: Some("1ms"),
    },
    Stage {
        pool: 1,
        light: false,
        age_max: None,
    },
];

#[derive(Debug, Clone, Copy)]
struct Stage {
    pool: usize,
    light: bool,
    age_max: Option<&'static str>,
}

impl Stage {
    fn profile(self) -> Profile {
        Profile {
            clients: CLIENTS,
            pool: self.pool,
            steps: STEPS,
            light: self.light,
        }
    }
}

/// Two servers alike, one of them behind endpoints.
struct Theatre {
    direct: Cluster,
    behind: Cluster,
    endpoints: Vec<Endpoint>,
}

/// A difference: at which step, and what it is.
struct Difference {
    step: usize,
    text: String,
}

impl Theatre {
    fn open() -> Self {
        // the two are the same in all that a client can see
        let cluster = || {
            Cluster::builder()
                .in_memory()
                .cnf("local-infile=OFF")
                // a plan, and with it the flag that no index was used, must not change at a moment of the server's own
                .cnf("innodb-stats-auto-recalc=OFF")
                .schema(&format!("GRANT ALL ON `f%`.* TO {}@'%';", APP.0))
                .build()
        };
        let (direct, behind) = (cluster(), cluster());
        // over TCP as the endpoint, so that an account's host is the same; the server has seen the password once by then
        let socket = direct.socket(0).display().to_string();
        Link::open(&Login::new(socket, APP.0, APP.1)).expect("the account logs in");
        let endpoints = STAGES
            .iter()
            .map(|stage| {
                let age = stage
                    .age_max
                    .map_or_else(String::new, |age| format!("age_max = \"{age}\"\n"));
                let options = Options {
                    // a busy machine is not what is tested
                    keys: "connect_timeout = \"60s\"".to_owned(),
                    pool: format!(
                        "max_server_connections = {}\nwait_timeout = \"1500ms\"\n{PATIENT}{age}",
                        stage.pool
                    ),
                    ..Options::default()
                };
                let endpoint = start(&behind, options);
                endpoint.wait_opened(&behind);
                endpoint
            })
            .collect();
        Self {
            direct,
            behind,
            endpoints,
        }
    }

    /// Both servers as before the first session.
    fn clear(&self) {
        for cluster in [&self.direct, &self.behind] {
            let socket = cluster.socket(0).display().to_string();
            let mut root = Login::new(socket, "root", "");
            root.capabilities |=
                lamplighter_wire::mysql::flags::Capabilities::CLIENT_MULTI_STATEMENTS;
            let mut root = Link::open(&root).expect("root logs in");
            for row in crate::support::mysql::raw::text_rows(&root.query(b"XA RECOVER")) {
                let name = row.get(3).cloned().flatten().unwrap_or_default();
                let name = String::from_utf8_lossy(&name).into_owned();
                root.query(format!("XA ROLLBACK '{name}'").as_bytes());
            }
            for client in 0..CLIENTS {
                let sql = format!("DROP DATABASE IF EXISTS f{client}x;");
                root.query(sql.as_bytes());
                for part in root.query(grammar::setup(client).as_bytes()) {
                    assert!(
                        !matches!(part, Part::Err { .. } | Part::Lost(_)),
                        "setup: {part:?}"
                    );
                }
            }
        }
    }

    /// Plays the steps on both sides; the first difference that is not known ends it.
    fn play(&self, stage: usize, steps: &[Step]) -> Result<Vec<&'static str>, Difference> {
        self.clear();
        let direct = Side {
            address: self.direct.address(0),
            user: APP.0.to_owned(),
            password: APP.1.to_owned(),
        };
        let endpoint = Side {
            address: self.endpoints[stage].socket(),
            user: "web".to_owned(),
            password: String::new(),
        };
        let players = |side: &Side| -> Vec<Player> {
            (0..CLIENTS)
                .map(|client| Player::new(side, grammar::schema(client)))
                .collect()
        };
        let (mut left, mut right) = (players(&direct), players(&endpoint));
        let mut forgiven = Vec::new();
        let mut unheard = differences::Unheard::default();
        for (index, step) in steps.iter().enumerate() {
            let began = Instant::now();
            let mut expected = left[step.client].play(&step.op);
            let mut got = right[step.client].play(&step.op);
            differences::mask(&mut expected);
            differences::mask(&mut got);
            if std::env::var_os("LAMPLIGHTER_FUZZ_TRACE").is_some() {
                trace(index, step, &expected, began.elapsed());
            }
            let sql = left[step.client].statement(&step.op);
            if expected == got {
                unheard.note(step.client, &step.op, &sql, &got);
                continue;
            }
            let known = differences::known(&step.op, &sql, &expected, &got)
                .or_else(|| unheard.known(step.client, &step.op, &sql));
            if let Some(reason) = known {
                forgiven.push(reason);
                // what the next statement may ask about is not the same now; make it so
                for player in [&mut left[step.client], &mut right[step.client]] {
                    player.play(&steps::Op::sql("SELECT 0"));
                }
                continue;
            }
            if differences::waited_in_vain(&got) {
                forgiven.push("a connection kept for longer than it must be");
                return Ok(forgiven);
            }
            return Err(Difference {
                step: index,
                text: differences::first_difference(&expected, &got),
            });
        }
        Ok(forgiven)
    }

    /// Leaves steps out as long as the difference stays.
    fn shorten(&self, stage: usize, steps: &[Step]) -> (Vec<Step>, Option<String>) {
        let end = Instant::now() + SHORTEN;
        let mut least = steps.to_vec();
        let mut text = None;
        let mut chunk = least.len() / 2;
        while chunk >= 1 && Instant::now() < end {
            let mut at = 0;
            while at < least.len() && Instant::now() < end {
                let upto = (at + chunk).min(least.len());
                let without = [&least[..at], &least[upto..]].concat();
                match self.play(stage, &without) {
                    Err(difference) => {
                        least = without[..=difference.step].to_vec();
                        text = Some(difference.text);
                    }
                    Ok(_) => at += chunk,
                }
            }
            chunk /= 2;
        }
        (least, text)
    }

    /// Plays the session of a seed. Returns what to print if it fails.
    fn run(&self, seed: u64) -> Result<Vec<&'static str>, String> {
        let remainder = seed % u64::try_from(STAGES.len()).expect("few");
        let stage = usize::try_from(remainder).expect("few");
        let steps = generate::session(seed, STAGES[stage].profile());
        let difference = match self.play(stage, &steps) {
            Ok(forgiven) => return Ok(forgiven),
            Err(difference) => difference,
        };
        let (least, text) = self.shorten(stage, &steps[..=difference.step]);
        let mut report = format!(
            "seed {seed} ({:?}): the endpoint answers otherwise than the server\n  reproduce: make fuzz-sessions SEED={seed} SESSIONS=1\n",
            STAGES[stage]
        );
        for step in &least {
            writeln!(report, "    {step}").expect("a string");
        }
        write!(report, "  {}", text.unwrap_or(difference.text)).expect("a string");
        Err(report)
    }
}

fn trace(index: usize, step: &Step, answer: &[Part], took: Duration) {
    let last = answer.last().map(|part| format!("{part:?}"));
    let line = format!("{index} {took:?} {step}\n      {last:?}\n");
    std::io::stderr().write_all(line.as_bytes()).ok();
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

#[test]
fn random_sessions_are_answered_as_by_a_server() {
    let first = number("LAMPLIGHTER_FUZZ_SEED").unwrap_or(SEEDS.start);
    let count = number("LAMPLIGHTER_FUZZ_SESSIONS").unwrap_or(SEEDS.end - SEEDS.start);
    let failures_max = number("LAMPLIGHTER_FUZZ_FAILURES").unwrap_or(1);
    let theatre = Theatre::open();
    let mut failures = Vec::new();
    let mut forgiven = std::collections::BTreeMap::<&str, u64>::new();
    for seed in first..first + count {
        match theatre.run(seed) {
            Ok(reasons) => {
                for reason in reasons {
                    *forgiven.entry(reason).or_default() += 1;
                }
            }
            Err(report) => {
                std::io::stderr().write_all(report.as_bytes()).ok();
                std::io::stderr().write_all(b"\n").ok();
                failures.push(report);
            }
        }
        if u64::try_from(failures.len()).expect("few") >= failures_max {
            break;
        }
    }
    let summary = format!("{count} sessions from seed {first}; known differences: {forgiven:?}\n");
    std::io::stderr().write_all(summary.as_bytes()).ok();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}
