//! Metrics: what is documented is there, what is there is documented, and Prometheus' own linter likes it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::support::agent::{Agent, http_get};
use super::support::{poll, ports, prometheus};
use super::tidy::{none, read, sources};

/// One documented series: its type and its help text.
type Series = BTreeMap<String, (String, String)>;

/// The rows of docs/metrics.md.
fn documented() -> Series {
    let mut series = Series::new();
    for line in read("docs/metrics.md")
        .lines()
        .filter(|line| line.starts_with("| `"))
    {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        if let [name, kind, _, help] = cells[..] {
            let twice = series.insert(
                name.trim_matches('`').to_owned(),
                (kind.to_owned(), help.to_owned()),
            );
            assert_eq!(twice, None, "{name} is documented twice");
        }
    }
    assert!(series.len() > 30, "only {} rows understood", series.len());
    series
}

/// What the sources register, read from the calls of `Section`.
fn registered() -> Series {
    const CALLS: [(&str, &str); 8] = [
        (".counter(", "counter"),
        (".counters(", "counter"),
        (".gauge(", "gauge"),
        (".gauges(", "gauge"),
        (".gauge_float(", "gauge"),
        (".gauges_float(", "gauge"),
        (".histogram(", "histogram"),
        (".histograms(", "histogram"),
    ];
    let mut series = Series::new();
    for (path, text) in sources() {
        if !path.starts_with("agent/") || path.contains("tests") {
            continue;
        }
        // each section begins a part of the file that registers under its name
        for part in text.split("Section::new(").skip(1) {
            let Some(section) = part.split('"').nth(1) else {
                continue;
            };
            for (call, kind) in CALLS {
                for arguments in part.split(call).skip(1) {
                    let strings: Vec<&str> = arguments.split('"').collect();
                    let [before, name, between, help, ..] = strings[..] else {
                        continue;
                    };
                    if before.trim().is_empty() && between.trim() == "," {
                        let infix = if section.is_empty() {
                            String::new()
                        } else {
                            format!("{section}_")
                        };
                        series.insert(
                            format!("lamplighter_{infix}{name}"),
                            (kind.to_owned(), help.to_owned()),
                        );
                    }
                }
            }
        }
    }
    series
}

/// An exposition's series, from its HELP and TYPE lines.
fn scraped(exposition: &str) -> Series {
    let mut series = Series::new();
    for line in exposition.lines() {
        let Some((what, rest)) = line
            .strip_prefix("# ")
            .and_then(|line| line.split_once(' '))
        else {
            continue;
        };
        let Some((name, text)) = rest.split_once(' ') else {
            continue;
        };
        let entry = series.entry(name.to_owned()).or_default();
        match what {
            "HELP" => entry.1 = text.to_owned(),
            _ => entry.0 = text.to_owned(),
        }
    }
    series
}

fn differences(found: &Series, documented: &Series) -> Vec<String> {
    let different = found
        .iter()
        .filter(|(name, facts)| documented.get(*name) != Some(*facts));
    different
        .map(|(name, (kind, help))| format!("| `{name}` | {kind} | (labels) | {help} |"))
        .collect()
}

#[test]
fn every_registered_series_is_documented_and_no_other() {
    let (documented, registered) = (documented(), registered());
    none(
        differences(&registered, &documented),
        "docs/metrics.md lacks these rows, or has them otherwise",
    );
    let ours = documented
        .keys()
        .filter(|name| name.starts_with("lamplighter_"));
    let gone = ours.filter(|name| !registered.contains_key(*name)).cloned();
    none(gone, "docs/metrics.md names series that nobody registers");
}

/// Every subsystem on; none of the servers exist.
const EVERYTHING: &str = "
[state]
dir = '{dir}/state'
[health]
listen = '127.0.0.1:PROBE'
metrics_listen = '127.0.0.1:METRICS'
admin_listen = '127.0.0.1:ADMIN'
admin_socket = '{dir}/admin.sock'
runtime_dir = '{dir}'
[health.web]
url = 'http://127.0.0.1:NOBODY/'
[mysql]
listen = ['unix:{dir}/mysql.sock']
primary = '127.0.0.1:NOBODY'
replicas = ['localhost:NOBODY']
user = 'app'
password_file = 'password'
clients.web.peer_users = ['root']
[redis]
upstream = 'rediss://127.0.0.1:NOBODY'
password_file = 'password'
[[warm]]
name = 'products'
query = 'SELECT id FROM shop.products WHERE id > ? ORDER BY id LIMIT 10'
key = 'product:{id}'
[[sync]]
name = 'site'
container = 'https://127.0.0.1:NOBODY/account/www'
path = '{dir}/www'
sas_file = 'sas'
";

fn agent_with_everything() -> (Agent, String) {
    let builder = Agent::builder(env!("CARGO_BIN_EXE_lamplighter"));
    builder.secret("password", "unused");
    builder.secret("sas", "sv=2021&sig=unused");
    let mut config = EVERYTHING.to_owned();
    let metrics = ports::free();
    for (name, port) in [
        ("PROBE", ports::free()),
        ("METRICS", metrics),
        ("ADMIN", ports::free()),
        ("NOBODY", ports::free()),
    ] {
        config = config.replace(name, &port.to_string());
    }
    let mut agent = builder.start(&config);
    agent.wait_ready(Duration::from_secs(10));
    (agent, format!("127.0.0.1:{metrics}"))
}

#[test]
fn a_running_agent_serves_what_is_documented() {
    let (agent, address) = agent_with_everything();
    let documented = documented();
    let all = |exposition: &str| {
        let found: BTreeSet<String> = scraped(exposition).into_keys().collect();
        let absent: Vec<String> = [
            "lamplighter_mysql_clients",
            "lamplighter_redis_upstream_up",
            "lamplighter_sync_in_sync",
            "process_open_fds",
        ]
        .iter()
        .filter(|name| !found.contains(**name))
        .map(|name| (*name).to_owned())
        .collect();
        if absent.is_empty() {
            Ok(())
        } else {
            Err(format!("absent: {absent:?}"))
        }
    };
    let exposition = poll::until(Duration::from_secs(10), "series of every subsystem", || {
        let (status, _, body) = http_get(&address, "/metrics");
        assert_eq!(status, 200);
        all(&body).map(|()| body)
    });
    none(
        differences(&scraped(&exposition), &documented),
        "served, but not in docs/metrics.md or otherwise",
    );
    prometheus::lint(&exposition).unwrap_or_else(|complaints| panic!("{complaints}"));
    let served = http_get(&address, "/").0;
    assert_eq!(served, 404, "the metrics listener serves nothing else");
    drop(agent);
}

#[test]
fn build_and_configuration_are_told() {
    let (agent, address) = agent_with_everything();
    let (_, _, exposition) = http_get(&address, "/metrics");
    let line = |start: &str| {
        let found = exposition.lines().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| panic!("no {start}")).to_owned()
    };
    assert!(
        line("lamplighter_build_info{")
            .contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION")))
    );
    assert!(line("lamplighter_config_info{").ends_with("\"} 1"));
    assert_eq!(
        line("lamplighter_config_last_reload_successful "),
        "lamplighter_config_last_reload_successful 1"
    );
    assert_eq!(
        line("lamplighter_phase{phase=\"ready\"}"),
        "lamplighter_phase{phase=\"ready\"} 1"
    );
    drop(agent);
}
