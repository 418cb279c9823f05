//! `lamplighter mysql`: the endpoint at a glance, for people. Asks the running agent.

use std::fmt::Write as _;
use std::process::ExitCode;

use lamplighter_mysql::{Overview, PoolReport, ServerReport};

use super::StatusArgs;
use super::statements::{TEXT_WIDTH, shorten, show, time};

pub(super) fn overview(args: &StatusArgs) -> ExitCode {
    show(args, "mysql/overview", "", render)
}

fn render(found: &Overview) -> String {
    let mut out = format!(
        "{} clients; consistency {}\n\n{}",
        found.clients,
        found.consistency,
        render_servers(&found.servers)
    );
    let all: u64 = found.routes.iter().map(|route| route.count).sum();
    out.push_str("\n\nwhere commands went, and why");
    if all == 0 {
        out.push_str("\n  none yet");
    }
    for route in &found.routes {
        // writing to a string does not fail
        let _written = write!(
            out,
            "\n  {:8} {:20} {:>12} {:>4} %",
            route.target,
            route.why,
            route.count,
            route.count * 100 / all.max(1)
        );
    }
    let _written = write!(out, "\n\nclients that keep a connection: {}", found.pins);
    for pin in &found.pins_longest {
        let _written = write!(
            out,
            "\n  {:>9} {:20} {:16} {:24} {}",
            time(pin.seconds),
            pin.reason,
            pin.user,
            pin.server,
            shorten(pin.text.as_deref().unwrap_or("-"), TEXT_WIDTH),
        );
    }
    out.push_str("\n\nwhat took most time");
    if found.digests.is_empty() {
        out.push_str("\n  nothing yet");
    }
    for digest in &found.digests {
        let _written = write!(
            out,
            "\n  {:>9} {:>10} calls  p99 {:>9}  {:16}  {}",
            time(digest.seconds),
            digest.calls,
            time(digest.p99_seconds),
            digest.id,
            shorten(&digest.text, TEXT_WIDTH),
        );
    }
    out
}

fn render_servers(servers: &[ServerReport]) -> String {
    let width = servers.iter().map(|it| it.server.chars().count());
    let width = width.max().unwrap_or_default().max(6);
    let mut out = format!(
        "{:width$}  {:8} {:10} {:>7} {:>7} {:>4} {:>6} {:>5} {:>5} {:>5} {:>7} {:>5}  {:13} version",
        "server",
        "role",
        "state",
        "lag",
        "up for",
        "gen",
        "limit",
        "open",
        "idle",
        "busy",
        "waiting",
        "pins",
        "limit by"
    );
    for server in servers {
        let pool = &server.pool;
        let lag = server.lag_seconds.map_or_else(|| "-".to_owned(), time);
        let up = server.uptime_seconds.map_or_else(|| "-".to_owned(), span);
        let _written = write!(
            out,
            "\n{:width$}  {:8} {:10} {lag:>7} {up:>7} {:>4} {:>6} {:>5} {:>5} {:>5} {:>7} {:>5}  {:13} {}",
            server.server,
            server.role,
            state(server),
            pool.generation,
            pool.limit,
            pool.open,
            pool.idle,
            pool.busy,
            pool.waiting,
            pool.pins,
            limit_by(pool),
            server.version.as_deref().unwrap_or("-"),
        );
        if let Some(trouble) = &pool.trouble {
            let ago = time(trouble.seconds_ago);
            let _written = write!(
                out,
                "\n{:width$}  last trouble {ago} ago: {}",
                "", trouble.error
            );
        }
    }
    out
}

/// The largest unit alone: `90000` as `25 h`.
fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} d", seconds / 86_400),
    }
}

const fn state(server: &ServerReport) -> &'static str {
    match (server.up, server.readable) {
        (false, _) => "away",
        (true, true) => "fit",
        (true, false) => "unfit",
    }
}

fn limit_by(pool: &PoolReport) -> String {
    pool.instances.map_or_else(
        || pool.limit_by.clone(),
        |instances| format!("{} of {instances}", pool.limit_by),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_server_is_a_line_and_its_trouble_another() {
        let text = r#"{"clients": 3, "consistency": "session", "pins": 0, "pins_longest": [], "digests": [],
            "routes": [{"target": "replica", "why": "read", "count": 3}, {"target": "primary", "why": "not_a_read", "count": 1}],
            "servers": [{"server": "db:3306", "role": "primary", "up": true, "version": "8.0.36", "uptime_seconds": 90000, "readable": true, "lag_seconds": null,
              "pool": {"generation": 2, "limit": 8, "limit_by": "fleet", "instances": 50, "open": 4, "idle": 1, "busy": 3,
                "waiting": 7, "pins": 1, "trouble": {"seconds_ago": 2.5, "error": "refused"}}},
              {"server": "r1:3306", "role": "replica", "up": true, "version": null, "uptime_seconds": null, "readable": false, "lag_seconds": 40,
              "pool": {"generation": 0, "limit": 8, "limit_by": "configured", "instances": null, "open": 0, "idle": 0, "busy": 0,
                "waiting": 0, "pins": 0, "trouble": null}}]}"#;
        let shown = render(&serde_json::from_str(text).unwrap());
        let lines: Vec<_> = shown.lines().collect();
        let words = |line: usize| lines[line].split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(
            words(3),
            "db:3306 primary fit - 25 h 2 8 4 1 3 7 1 fleet of 50 8.0.36",
            "{shown}"
        );
        assert_eq!(words(4), "last trouble 2.5 s ago: refused");
        assert_eq!(
            words(5),
            "r1:3306 replica unfit 40.0 s - 0 8 0 0 0 0 0 configured -"
        );
        assert!(
            shown.contains("replica  read                            3   75 %"),
            "{shown}"
        );
    }
}
