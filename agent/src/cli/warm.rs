//! `warm status | run`: the [[warm]] jobs, as an operator sees them. Asks the running agent.

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use lamplighter_redis::warm::{State, WarmStatus};
use serde::Deserialize;
use serde_json::json;

use super::progress::Progress;
use super::status::{ask, encoded, socket, span};
use super::{FAILED, StatusArgs, complain, print};

/// How often a run under way is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct WarmArgs {
    #[command(subcommand)]
    command: WarmCommand,
}

#[derive(Debug, Subcommand)]
enum WarmCommand {
    /// Show how the jobs of the running agent are.
    Status(JobArgs),
    /// Run a job now, whether it is due or not, and wait for its end.
    ///
    /// Exit code 1 if it did not end well, or another instance runs it at the moment.
    Run(RunArgs),
}

#[derive(Debug, Args)]
struct JobArgs {
    /// The job; default: all.
    job: Option<String>,
    #[command(flatten)]
    ask: StatusArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The job.
    job: String,
    #[command(flatten)]
    ask: StatusArgs,
    /// Read everything and count what would be written, but write nothing.
    #[arg(long)]
    dry_run: bool,
}

/// The agent's answer about its jobs.
#[derive(Debug, Deserialize)]
struct Jobs {
    jobs: Vec<WarmStatus>,
}

/// The agent's answer to `run`.
#[derive(Debug, Deserialize)]
struct Until {
    until_runs: u64,
}

pub(super) fn warm(args: &WarmArgs) -> ExitCode {
    match &args.command {
        WarmCommand::Status(args) => status(args),
        WarmCommand::Run(args) => run(args).unwrap_or_else(|code| code),
    }
}

fn status(args: &JobArgs) -> ExitCode {
    let name = args.job.as_deref().map(encoded);
    let target = match name {
        Some(name) => format!("/api/v1/warm/status?name={name}"),
        None => "/api/v1/warm/status".to_owned(),
    };
    let answer = socket(&args.ask.admin).and_then(|socket| ask::<Jobs>(&socket, "GET", &target));
    match answer {
        Err(code) => code,
        Ok((answer, _)) if args.ask.json => {
            print(answer.body.trim_end());
            ExitCode::SUCCESS
        }
        Ok((_, jobs)) => {
            let lines: Vec<String> = jobs.jobs.iter().map(render).collect();
            print(lines.join("\n"));
            ExitCode::SUCCESS
        }
    }
}

fn run(args: &RunArgs) -> Result<ExitCode, ExitCode> {
    let socket = socket(&args.ask.admin)?;
    let name = encoded(&args.job);
    let dry = if args.dry_run { "&argument=dry" } else { "" };
    let target = format!("/api/v1/warm/run?name={name}{dry}");
    let (_, Until { until_runs }) = ask(&socket, "POST", &target)?;
    let progress = Progress::new();
    loop {
        let status = look(&socket, &name)?;
        if status.runs >= until_runs {
            progress.end();
            return Ok(ended(args, &status));
        }
        progress.show(&counts(&status));
        std::thread::sleep(LOOK);
    }
}

fn look(socket: &Path, name: &str) -> Result<WarmStatus, ExitCode> {
    let target = format!("/api/v1/warm/status?name={name}");
    let (_, jobs) = ask::<Jobs>(socket, "GET", &target)?;
    jobs.jobs.into_iter().next().ok_or_else(|| {
        complain("error: the agent's answer names no job");
        ExitCode::from(FAILED)
    })
}

fn ended(args: &RunArgs, status: &WarmStatus) -> ExitCode {
    if args.ask.json {
        print(json!(status));
    } else if status.trouble.is_empty() {
        let would = if args.dry_run { "would be " } else { "" };
        print(format_args!(
            "{}: {} rows, {} keys {would}written ({} left as they were), {} bytes, {} rows left out",
            status.name,
            status.rows,
            status.keys - status.kept,
            status.kept,
            status.bytes,
            status.skipped
        ));
    } else {
        complain(format_args!("error: {}: {}", status.name, status.trouble));
    }
    ExitCode::from(if status.trouble.is_empty() { 0 } else { FAILED })
}

fn render(status: &WarmStatus) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let last = match &status.last {
        None => "not done yet, as far as this instance knows".to_owned(),
        Some(last) => {
            let done = Duration::from_millis(last.finished_ms);
            let ago = now.unwrap_or_default().saturating_sub(done);
            format!(
                "done {} ago in {} ms: {} rows, {} keys",
                span(ago.as_secs()),
                last.duration_ms,
                last.rows,
                last.keys
            )
        }
    };
    let mut lines = vec![
        format!("{} ({}) {}", status.name, status.source, status.schedule),
        format!("  {last}"),
    ];
    match status.state {
        State::Waiting => {}
        State::Running => lines.push(format!("  runs here: {}", counts(status))),
        State::DryRun => lines.push(format!("  runs here, writes nothing: {}", counts(status))),
        State::Elsewhere => lines.push("  another instance runs it".to_owned()),
    }
    if !status.trouble.is_empty() {
        lines.push(format!("  {}", status.trouble));
    }
    lines.join("\n")
}

fn counts(status: &WarmStatus) -> String {
    format!(
        "{} rows, {} keys, {} bytes",
        status.rows, status.keys, status.bytes
    )
}
