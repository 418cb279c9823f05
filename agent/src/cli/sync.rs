//! `sync status | plan | run | rollback | verify`: files, as an operator sees them.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use lamplighter_core::config::SecretDirs;
use lamplighter_core::fault::chain;
use lamplighter_sync::{Config, JobStatus, PassSummary, PlanLine, PlanSummary, Verified};
use serde::Deserialize;
use serde_json::json;

use super::admin::{self, AdminError};
use super::progress::Progress;
use super::status::{ask, encoded, refused, socket, span, unanswered};
use super::{FAILED, StatusArgs, USAGE, complain, complain_all, print};
use crate::app::instance;
use crate::config;

/// How often a pass under way is looked at.
const LOOK: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
pub(super) struct SyncArgs {
    #[command(subcommand)]
    command: SyncCommand,
}

#[derive(Debug, Subcommand)]
enum SyncCommand {
    /// Show how the entries of the running agent are.
    Status(EntriesArgs),
    /// Show what a pass would do now, without doing it. Needs no running agent.
    ///
    /// Exit code 1 if a guard would hold deletes back.
    Plan(EntryArgs),
    /// Make a pass now and wait for its end.
    ///
    /// Asks the running agent; with --here the pass is made in this process, for an image that is being built. Exit code 1
    /// if the pass was not complete.
    Run(RunArgs),
    /// Switch back to the release before the live one, or to the one named.
    ///
    /// What is published now is not taken again until something else is published.
    Rollback(RollbackArgs),
    /// Read every file and compare it with what was written. Needs no running agent, nor the storage.
    ///
    /// Exit code 1 if a file is missing or changed.
    Verify(EntryArgs),
}

#[derive(Debug, Args)]
struct EntriesArgs {
    /// The entry; default: all.
    name: Option<String>,
    #[command(flatten)]
    ask: StatusArgs,
}

#[derive(Debug, Args)]
struct EntryArgs {
    /// The entry; may be left out if there is one.
    name: Option<String>,
    #[command(flatten)]
    ask: StatusArgs,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    entry: EntryArgs,
    /// Make the pass in this process; no agent may be at work on the entry.
    #[arg(long)]
    here: bool,
}

#[derive(Debug, Args)]
struct RollbackArgs {
    #[command(flatten)]
    entry: EntryArgs,
    /// The release to go back to.
    #[arg(long, value_name = "ID")]
    to: Option<String>,
}

/// The agent's answer about its entries.
#[derive(Debug, Deserialize)]
struct Entries {
    entries: Vec<JobStatus>,
}

pub(super) fn sync(args: &SyncArgs) -> ExitCode {
    match &args.command {
        SyncCommand::Status(args) => status(args),
        SyncCommand::Plan(args) => with_entry(args, |entry| plan(args, &entry)),
        SyncCommand::Run(args) if args.here => {
            with_entry(&args.entry, |entry| run_here(&args.entry, &entry))
        }
        SyncCommand::Run(args) => with_entry(&args.entry, |entry| run(&args.entry, &entry)),
        SyncCommand::Rollback(args) => with_entry(&args.entry, |entry| rollback(args, &entry)),
        SyncCommand::Verify(args) => with_entry(args, |entry| verify(args, &entry)),
    }
}

/// One entry of the file, and where its state is.
struct Entry {
    config: Config,
    secrets: SecretDirs,
    state: PathBuf,
}

fn with_entry(args: &EntryArgs, work: impl FnOnce(Entry) -> ExitCode) -> ExitCode {
    let loaded = match config::load(&args.ask.admin.file.config) {
        Ok(loaded) => loaded,
        Err(problems) => return complain_all(&problems),
    };
    let entries = &loaded.config.sync;
    let found = match &args.name {
        Some(name) => entries.iter().find(|entry| entry.name == *name),
        None if entries.len() == 1 => entries.first(),
        None => None,
    };
    let Some(found) = found else {
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        complain(format_args!(
            "error: name one of the [[sync]] entries: {}",
            names.join(", ")
        ));
        return ExitCode::from(USAGE);
    };
    work(Entry {
        config: found.clone(),
        secrets: loaded.secret_dirs(),
        state: loaded.config.state.dir.join("sync"),
    })
}

fn status(args: &EntriesArgs) -> ExitCode {
    let socket = match socket(&args.ask.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let target = match &args.name {
        Some(name) => format!("/api/v1/sync/status?name={}", encoded(name)),
        None => "/api/v1/sync/status".to_owned(),
    };
    match ask::<Entries>(&socket, "GET", &target) {
        Ok((answer, _)) if args.ask.json => {
            print(answer.body.trim_end());
            ExitCode::SUCCESS
        }
        Ok((_, entries)) => {
            let lines: Vec<String> = entries.entries.iter().map(render).collect();
            print(lines.join("\n"));
            ExitCode::SUCCESS
        }
        Err(code) => code,
    }
}

fn render(status: &JobStatus) -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let last = status.last_success.map_or_else(
        || "no complete pass yet".to_owned(),
        |at| format!("complete {} ago", span(now.saturating_sub(at))),
    );
    let mut lines = vec![
        format!("{} ({}) {}", status.name, status.kind, status.path),
        format!(
            "  {last}; {} files, {} refused",
            status.files, status.refused
        ),
    ];
    if status.running {
        lines.push(format!(
            "  a pass is under way: {} files, {} bytes",
            status.done_files, status.done_bytes
        ));
    }
    if let Some(release) = &status.release {
        lines.push(format!("  release {release}"));
    }
    if let Some(left) = &status.rolled_back {
        lines.push(format!(
            "  rolled back from {left}, which stays away until another one is published"
        ));
    }
    if let Some((guard, count)) = &status.held {
        lines.push(format!("  held by {guard}: {count} deletes"));
    }
    if !status.trouble.is_empty() {
        lines.push(format!("  {}", status.trouble));
    }
    lines.join("\n")
}

fn runtime() -> Result<tokio::runtime::Runtime, ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            complain(format_args!("error: {}", chain(&error)));
            ExitCode::from(FAILED)
        })
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    complain(format_args!("error: {}", chain(error)));
    ExitCode::from(FAILED)
}

fn plan(args: &EntryArgs, entry: &Entry) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let mut lines: Vec<PlanLine> = Vec::new();
    let work = lamplighter_sync::plan(&entry.config, &entry.secrets, None, &entry.state, |line| {
        if args.ask.json {
            lines.push(line);
        } else {
            let reason = if line.reason.is_empty() {
                String::new()
            } else {
                format!(" ({})", line.reason)
            };
            print(format_args!("{:10} {}{reason}", line.action, line.name));
        }
    });
    match runtime.block_on(work) {
        Ok(summary) => {
            if args.ask.json {
                print(json!({ "lines": lines, "summary": summary }));
            } else {
                print(sums(&summary));
            }
            ExitCode::from(if summary.held.is_some() { FAILED } else { 0 })
        }
        Err(error) => failed(&error),
    }
}

fn sums(summary: &PlanSummary) -> String {
    let held = summary
        .held
        .map_or_else(String::new, |guard| format!("; held by {guard}"));
    format!(
        "{} files: {} as they should be, {} to fetch or compare ({} bytes), {} to delete{held}, {} refused",
        summary.remote,
        summary.unchanged,
        summary.gets,
        summary.bytes,
        summary.deletes,
        summary.refused
    )
}

fn done(files: u64, bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one digit")]
    let mib = bytes as f64 / (1024.0 * 1024.0);
    format!("{files} files, {mib:.1} MiB")
}

/// The agent's answer to `run`.
#[derive(Debug, Deserialize)]
struct Until {
    until_passes: u64,
}

fn run(args: &EntryArgs, entry: &Entry) -> ExitCode {
    let socket = match socket(&args.ask.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let name = encoded(&entry.config.name);
    let begun = ask::<Until>(&socket, "POST", &format!("/api/v1/sync/run?name={name}"));
    let until = match begun {
        Ok((_, until)) => until.until_passes,
        Err(code) => return code,
    };
    let (progress, began) = (Progress::new(), Instant::now());
    loop {
        let target = format!("/api/v1/sync/status?name={name}");
        let status = match ask::<Entries>(&socket, "GET", &target) {
            Ok((_, entries)) => entries.entries.into_iter().next(),
            Err(code) => return code,
        };
        let Some(status) = status else {
            return ExitCode::from(FAILED);
        };
        if status.passes >= until {
            progress.end();
            return ended(args, &status, began.elapsed());
        }
        progress.show(&done(status.done_files, status.done_bytes));
        std::thread::sleep(LOOK);
    }
}

fn ended(args: &EntryArgs, status: &JobStatus, took: Duration) -> ExitCode {
    if args.ask.json {
        print(json!(status));
    } else {
        print(format_args!(
            "{}\n  {} files changed in {:.1} s",
            render(status),
            status.changed,
            took.as_secs_f64()
        ));
    }
    let good = status.trouble.is_empty() || status.rolled_back.is_some();
    ExitCode::from(if good { 0 } else { FAILED })
}

fn run_here(args: &EntryArgs, entry: &Entry) -> ExitCode {
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(code) => return code,
    };
    let progress = Progress::new();
    let mut watcher = |files, bytes| progress.show(&done(files, bytes));
    let name = instance::name();
    let (config, secrets, state) = (&entry.config, &entry.secrets, &entry.state);
    let pass = lamplighter_sync::one_pass(config, secrets, None, &name, state, &mut watcher);
    let result = runtime.block_on(pass);
    progress.end();
    match result {
        Ok(summary) => {
            if args.ask.json {
                print(json!(summary));
            } else {
                print(of_pass(&summary));
            }
            ExitCode::from(if summary.complete { 0 } else { FAILED })
        }
        Err(error) => failed(&error),
    }
}

fn of_pass(summary: &PassSummary) -> String {
    let mut text = format!(
        "{} files in place, {} changed, {} failed, {} refused",
        summary.files, summary.changed, summary.failed, summary.refused
    );
    if let Some(release) = &summary.release {
        text.push_str("\nrelease ");
        text.push_str(release);
    }
    if let Some((guard, count)) = summary.held {
        text.push_str(&format!("\nheld by {guard}: {count} deletes"));
    }
    if !summary.trouble.is_empty() {
        text.push_str("\nnot complete: ");
        text.push_str(&summary.trouble);
    }
    text
}

/// The agent's answer to `rollback`.
#[derive(Debug, Deserialize)]
struct Live {
    release: String,
}

fn rollback(args: &RollbackArgs, entry: &Entry) -> ExitCode {
    let socket = match socket(&args.entry.ask.admin) {
        Ok(socket) => socket,
        Err(code) => return code,
    };
    let name = encoded(&entry.config.name);
    let to = args
        .to
        .as_ref()
        .map_or_else(String::new, |to| format!("&argument={}", encoded(to)));
    let target = format!("/api/v1/sync/rollback?name={name}{to}");
    let release = match admin::ask(&socket, "POST", &target) {
        Err(AdminError::NotThere { .. }) => match rollback_here(args, entry) {
            Ok(release) => release,
            Err(code) => return code,
        },
        Err(error) => return unanswered(&error),
        Ok(answer) if answer.status != 200 => return refused(&answer),
        Ok(answer) => match serde_json::from_str::<Live>(&answer.body) {
            Ok(live) => live.release,
            Err(_) => return unanswered(&AdminError::Malformed { path: socket }),
        },
    };
    if args.entry.ask.json {
        print(json!({ "release": release }));
    } else {
        print(format_args!("release {release} is live"));
    }
    ExitCode::SUCCESS
}

/// Where no agent runs, there is nobody in the way.
fn rollback_here(args: &RollbackArgs, entry: &Entry) -> Result<String, ExitCode> {
    let work = lamplighter_sync::roll_back(&entry.config, &entry.state, args.to.clone());
    runtime()?.block_on(work).map_err(|error| failed(&error))
}

fn verify(args: &EntryArgs, entry: &Entry) -> ExitCode {
    let work = lamplighter_sync::verify(&entry.config, &entry.state);
    let found = match runtime() {
        Ok(runtime) => runtime.block_on(work),
        Err(code) => return code,
    };
    match found {
        Ok(found) => {
            if args.ask.json {
                print(json!(found));
            } else {
                print(of_verified(&found));
            }
            ExitCode::from(if found.is_whole() { 0 } else { FAILED })
        }
        Err(error) => failed(&error),
    }
}

fn of_verified(found: &Verified) -> String {
    let mut lines: Vec<String> = found
        .names
        .iter()
        .map(|name| format!("not as it was written: {name}"))
        .collect();
    lines.push(format!(
        "{} files: {} missing, {} changed",
        found.files, found.missing, found.changed
    ));
    lines.join("\n")
}
