//! `status`, `drain`, `undrain`, `reload`: what is asked of the running agent, and its answers for people.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lamplighter_core::fault::chain;
use lamplighter_health::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::admin::{self, AdminError, Answer};
use super::{AdminArgs, DrainArgs, FAILED, StatusArgs, USAGE, complain, complain_all, print};
use crate::config;

/// How often `drain --wait` looks.
const LOOK: Duration = Duration::from_millis(200);

/// The agent's answer to a command.
#[derive(Debug, Deserialize)]
struct Outcome {
    message: String,
}

pub(super) fn status(args: &StatusArgs) -> ExitCode {
    let socket = match socket(&args.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    match admin::ask(&socket, "GET", "/api/v1/status") {
        Ok(answer) if answer.status != 200 => refused(&answer),
        Ok(answer) if args.json => {
            print(answer.body.trim_end());
            ExitCode::SUCCESS
        }
        Ok(answer) => match serde_json::from_str::<Status>(&answer.body) {
            Ok(status) => {
                print(render(&status));
                ExitCode::SUCCESS
            }
            Err(error) => {
                complain(format_args!(
                    "error: the agent's answer is not understood (another version?): {error}; try --json"
                ));
                ExitCode::from(FAILED)
            }
        },
        Err(error) => unanswered(&error),
    }
}

pub(super) fn undrain(args: &AdminArgs) -> ExitCode {
    match socket(args) {
        Ok(socket) => command(&socket, "/api/v1/undrain"),
        Err(code) => code,
    }
}

pub(super) fn reload(args: &AdminArgs) -> ExitCode {
    match socket(args) {
        Ok(socket) => command(&socket, "/api/v1/reload"),
        Err(code) => code,
    }
}

pub(super) fn drain(args: &DrainArgs) -> ExitCode {
    let socket = match socket(&args.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let code = command(&socket, "/api/v1/drain");
    if !args.wait || code != ExitCode::SUCCESS {
        return code;
    }
    let interval = config::load(&args.admin.file.config)
        .ok()
        .and_then(|loaded| loaded.config.health)
        .unwrap_or_default();
    let interval_time = interval.probe_interval.get();
    let shed = interval_time * interval.probe_threshold;
    let began = Instant::now();
    loop {
        let status = match ask_status(&socket) {
            Ok(status) => status,
            Err(error) => return unanswered(&error),
        };
        if status.phase == "ready" {
            complain("error: somebody took the drain back");
            return ExitCode::from(FAILED);
        }
        let looking = status
            .balancer_asked_seconds_ago
            .is_some_and(|age| age <= (interval_time * 2).as_secs_f64());
        if !looking || began.elapsed() >= shed {
            print(if looking {
                "the load balancer has had the time to look away"
            } else {
                "no load balancer is looking"
            });
            return ExitCode::SUCCESS;
        }
        std::thread::sleep(LOOK);
    }
}

/// The admin socket: the one given, else the one the configuration names.
pub(super) fn socket(args: &AdminArgs) -> Result<PathBuf, ExitCode> {
    if let Some(socket) = &args.admin_socket {
        return Ok(socket.clone());
    }
    // an agent that waits for this very file listens at the default
    let default = lamplighter_health::Config::default().admin_socket;
    if config::is_blank(&args.file.config) && default.exists() {
        return Ok(default);
    }
    match config::load(&args.file.config) {
        Ok(loaded) => loaded
            .config
            .health
            .map(|health| health.admin_socket)
            .ok_or_else(|| {
                complain(
                    "error: the configuration has no [health], so the agent has no admin socket",
                );
                ExitCode::from(USAGE)
            }),
        Err(problems) => {
            let code = complain_all(&problems);
            complain(
                "name the socket with --admin-socket to reach an agent whose file is in this state",
            );
            Err(code)
        }
    }
}

fn command(socket: &std::path::Path, target: &str) -> ExitCode {
    match admin::ask(socket, "POST", target) {
        Ok(answer) if (200..300).contains(&answer.status) => {
            print(message(&answer));
            ExitCode::SUCCESS
        }
        Ok(answer) => refused(&answer),
        Err(error) => unanswered(&error),
    }
}

fn ask_status(socket: &std::path::Path) -> Result<Status, AdminError> {
    let answer = admin::ask(socket, "GET", "/api/v1/status")?;
    serde_json::from_str(&answer.body).map_err(|_| AdminError::Malformed {
        path: socket.to_owned(),
    })
}

fn message(answer: &Answer) -> String {
    serde_json::from_str::<Outcome>(&answer.body)
        .map_or_else(|_| answer.body.clone(), |outcome| outcome.message)
}

/// Asks the running agent something whose answer is JSON; gives the answer as it came, too.
pub(super) fn ask<T: DeserializeOwned>(
    socket: &Path,
    method: &str,
    target: &str,
) -> Result<(Answer, T), ExitCode> {
    let answer = admin::ask(socket, method, target).map_err(|error| unanswered(&error))?;
    if answer.status != 200 {
        return Err(refused(&answer));
    }
    match serde_json::from_str(&answer.body) {
        Ok(value) => Ok((answer, value)),
        Err(_) => Err(unanswered(&AdminError::Malformed {
            path: socket.to_owned(),
        })),
    }
}

/// Names hold nothing that a URL would mind, but they come from the command line.
pub(super) fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

pub(super) fn refused(answer: &Answer) -> ExitCode {
    complain(message(answer));
    ExitCode::from(FAILED)
}

pub(super) fn unanswered(error: &AdminError) -> ExitCode {
    complain(format_args!("error: {}", chain(error)));
    ExitCode::from(FAILED)
}

/// The status for people: the verdicts first, then every component.
fn render(status: &Status) -> String {
    let because = |reason: &str| {
        if reason.is_empty() {
            String::new()
        } else {
            format!(" ({reason})")
        }
    };
    let ago = |seconds: Option<f64>| {
        seconds.map_or_else(
            || "never".to_owned(),
            |seconds| format!("{seconds:.1} s ago"),
        )
    };
    let mut lines = vec![
        format!(
            "lamplighter {} (git {}), pid {}, up {}",
            status.build.version,
            status.build.git,
            status.pid,
            span(status.uptime_seconds)
        ),
        format!("phase            {}", status.phase),
        format!(
            "load balancer    {}{}; last asked {}",
            if status.serving { "200" } else { "503" },
            because(&status.serving_reason),
            ago(status.balancer_asked_seconds_ago)
        ),
        format!(
            "health extension {}{}; last asked {}",
            status.azure,
            because(&status.azure_reason),
            ago(status.azure_asked_seconds_ago)
        ),
        format!("local web server {}", status.web),
    ];
    if let Some(leaving) = &status.leaving {
        lines.insert(2, format!("leaving          {}", leaving.line()));
    }
    let gates: Vec<&str> = status
        .gates
        .iter()
        .filter(|gate| !gate.open)
        .map(|gate| gate.name.as_str())
        .collect();
    if !gates.is_empty() {
        lines.push(format!("still to be done {}", gates.join(", ")));
    }
    let width = status
        .components
        .iter()
        .map(|component| component.name.chars().count())
        .max()
        .unwrap_or_default();
    lines.extend(status.components.iter().map(|component| {
        let reach = if component.condition == "ok" {
            String::new()
        } else {
            format!(", {}", component.reach)
        };
        format!(
            "  {:width$}  {:8}  for {}{reach}{}",
            component.name,
            component.condition,
            span(component.seconds),
            because(&component.reason)
        )
    }));
    lines.join("\n")
}

/// `90061` seconds as `1d 1h 1m 1s`.
pub(super) fn span(seconds: u64) -> String {
    lamplighter_core::units::Millis::from_secs(seconds).to_string()
}

#[cfg(test)]
mod tests;
