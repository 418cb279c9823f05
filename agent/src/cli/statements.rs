//! `mysql top`, `mysql pins`, `explain`: what the endpoint knows of statements and of who keeps a connection, for people. Asks the
//! running agent; `explain` also knows what the text and the configuration say without one.

use std::fmt::Write as _;
use std::io::Read as _;
use std::process::ExitCode;

use lamplighter_mysql::{DigestReport, Explanation, Pins, Top, explain as explain_offline};
use serde::de::DeserializeOwned;

use super::admin::{self, AdminError};
use super::status::{refused, socket, unanswered};
use super::{ExplainArgs, FAILED, StatusArgs, TopArgs, USAGE, complain, print};
use crate::config;

/// The longest statement that is explained, in bytes.
const STATEMENT_MAX: u64 = 1024 * 1024;

/// Columns of a statement's text in a list.
pub(super) const TEXT_WIDTH: usize = 100;

pub(super) fn top(args: &TopArgs) -> ExitCode {
    let limit = args.limit.to_string();
    show(&args.status, "mysql/top", &limit, render_top)
}

pub(super) fn pins(args: &StatusArgs) -> ExitCode {
    show(args, "mysql/pins", "", render_pins)
}

pub(super) fn show<T: DeserializeOwned>(
    args: &StatusArgs,
    view: &str,
    question: &str,
    render: fn(&T) -> String,
) -> ExitCode {
    let socket = match socket(&args.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match admin::ask_view(&socket, view, question) {
        Ok(answer) if answer.status != 200 => refused(&answer),
        Ok(answer) if args.json => {
            print(answer.body.trim_end());
            ExitCode::SUCCESS
        }
        Ok(answer) => match serde_json::from_str(&answer.body) {
            Ok(found) => {
                print(render(&found));
                ExitCode::SUCCESS
            }
            Err(error) => not_understood(&error),
        },
        Err(error) => unanswered(&error),
    }
}

fn not_understood(error: &serde_json::Error) -> ExitCode {
    complain(format_args!(
        "error: the agent's answer is not understood (another version?): {error}; try --json"
    ));
    ExitCode::from(FAILED)
}

pub(super) fn explain(args: &ExplainArgs) -> ExitCode {
    let sql = match statement(&args.sql) {
        Ok(sql) => sql,
        Err(message) => {
            complain(format_args!("error: {message}"));
            return ExitCode::from(USAGE);
        }
    };
    let explanation = match ask(args, &sql) {
        Ok(Some(explanation)) => explanation,
        Ok(None) => {
            let loaded = config::load(&args.status.admin.file.config).ok();
            let mysql = loaded.and_then(|loaded| loaded.config.mysql);
            explain_offline(&sql, mysql.as_ref())
        }
        Err(code) => return code,
    };
    if args.status.json {
        return match serde_json::to_string(&explanation) {
            Ok(json) => {
                print(json);
                ExitCode::SUCCESS
            }
            Err(error) => not_understood(&error),
        };
    }
    print(render_explanation(&explanation));
    ExitCode::SUCCESS
}

fn statement(argument: &str) -> Result<String, String> {
    if argument != "-" {
        return Ok(argument.to_owned());
    }
    let mut sql = String::new();
    match std::io::stdin()
        .lock()
        .take(STATEMENT_MAX)
        .read_to_string(&mut sql)
    {
        Ok(_) => Ok(sql),
        Err(error) => Err(format!("cannot read the statement: {error}")),
    }
}

/// The running agent's explanation; none if no agent runs or it has no `[mysql]`.
fn ask(args: &ExplainArgs, sql: &str) -> Result<Option<Explanation>, ExitCode> {
    let named = args.status.admin.admin_socket.is_some();
    if args.offline || (!named && config::load(&args.status.admin.file.config).is_err()) {
        return Ok(None);
    }
    let Ok(socket) = socket(&args.status.admin) else {
        return Ok(None);
    };
    match admin::ask_view(&socket, "mysql/explain", sql) {
        Ok(answer) if answer.status == 200 => serde_json::from_str(&answer.body)
            .map(Some)
            .map_err(|error| not_understood(&error)),
        Ok(answer) if answer.status == 404 => Ok(None),
        Ok(answer) => Err(refused(&answer)),
        Err(AdminError::NotThere { .. }) => Ok(None),
        Err(error) => Err(unanswered(&error)),
    }
}

/// `0.0123` as `12.3 ms`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 100.0 => format!("{seconds:.0} s"),
        _ if seconds >= 1.0 => format!("{seconds:.1} s"),
        _ if seconds >= 0.001 => format!("{:.1} ms", seconds * 1e3),
        _ => format!("{:.0} us", seconds * 1e6),
    }
}

pub(super) fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let start: String = text.chars().take(width.saturating_sub(3)).collect();
    format!("{start}...")
}

fn render_top(top: &Top) -> String {
    let mut out = format!(
        "{} of at most {} digests in {}; {} dropped for costlier ones\n\
         {:>10} {:>9} {:>7} {:>9} {:>9} {:>10} {:>10} {:>7}  {:16}  statement",
        top.known,
        top.digests_max,
        time_span(top.since_seconds),
        top.evicted,
        "time",
        "calls",
        "errors",
        "p50",
        "p99",
        "rows sent",
        "changed",
        "replica",
        "digest",
    );
    for digest in &top.digests {
        // writing to a string does not fail
        let _written = write!(
            out,
            "\n{:>10} {:>9} {:>7} {:>9} {:>9} {:>10} {:>10} {:>7}  {:16}  {}",
            time(digest.seconds),
            digest.calls,
            digest.errors,
            time(digest.p50_seconds),
            time(digest.p99_seconds),
            digest.rows_sent,
            digest.rows_affected,
            format!("{} %", digest.routes.replica * 100 / digest.calls.max(1)),
            digest.id,
            shorten(&digest.text, TEXT_WIDTH),
        );
    }
    out
}

fn render_pins(pins: &Pins) -> String {
    if pins.pins.is_empty() {
        return "nobody keeps a server connection".to_owned();
    }
    let mut out = format!(
        "{:>10} {:>10}  {:20}  {:20}  {:24}  {:16}  statement",
        "for", "client", "why", "user", "server", "digest"
    );
    for pin in &pins.pins {
        let _written = write!(
            out,
            "\n{:>10} {:>10}  {:20}  {:20}  {:24}  {:16}  {}",
            time(pin.seconds),
            pin.client,
            pin.reason,
            pin.user,
            pin.server,
            pin.digest.as_deref().unwrap_or("-"),
            shorten(pin.text.as_deref().unwrap_or("-"), TEXT_WIDTH),
        );
    }
    out
}

fn render_explanation(found: &Explanation) -> String {
    let mut lines = vec![
        format!("digest       {}  {}", found.digest, found.text),
        format!("kind         {}", found.kind),
        format!("goes to      {} ({})", found.target, found.because),
    ];
    if found.target_after_write != found.target {
        lines.push(format!("after a write {}", found.target_after_write));
    }
    for other in &found.exceptions {
        let (user, target) = (&other.user, &other.target);
        let after = if other.target_after_write == *target {
            String::new()
        } else {
            format!("; after a write {}", other.target_after_write)
        };
        lines.push(format!("for {user:8} {target} ({}){after}", other.because));
    }
    if !found.traits.is_empty() {
        lines.push(format!("has          {}", found.traits.join(", ")));
    }
    if let Some(hint) = &found.hint {
        lines.push(format!("hint         {hint}"));
    }
    lines.push(match (&found.keeps, &found.until) {
        (Some(reason), Some(until)) => format!("connection   kept ({reason}) until {until}"),
        _ => "connection   given back when it is answered, unless a transaction is open".to_owned(),
    });
    match &found.live {
        None => {
            lines.push("agent        not asked: by the text and the configuration alone".to_owned())
        }
        Some(live) => {
            for replica in &live.replicas {
                let fit = if replica.fit {
                    "may answer reads"
                } else {
                    "gets no reads now"
                };
                lines.push(format!("replica      {} {fit}", replica.server));
            }
            lines.push(live.seen.as_ref().map_or_else(
                || "seen         never".to_owned(),
                |seen| format!("seen         {}", render_seen(seen)),
            ));
        }
    }
    lines.join("\n")
}

fn render_seen(seen: &DigestReport) -> String {
    let mut out = format!(
        "{} times ({} errors), {} in all, p50 {}, p99 {}; primary {}, replica {}, local {}",
        seen.calls,
        seen.errors,
        time(seen.seconds),
        time(seen.p50_seconds),
        time(seen.p99_seconds),
        seen.routes.primary,
        seen.routes.replica,
        seen.routes.local,
    );
    for pin in &seen.pins {
        let _written = write!(
            out,
            "; kept {} times for {} ({})",
            pin.count,
            time(pin.seconds),
            pin.reason
        );
    }
    out
}

fn time_span(seconds: u64) -> String {
    lamplighter_core::units::Millis::from_secs(seconds).to_string()
}

#[cfg(test)]
mod tests;
