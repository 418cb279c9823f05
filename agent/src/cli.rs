//! The command line: what can be asked, and what the exit code means. Writes to standard output and standard error.

mod admin;
mod check;
mod generate;
mod overview;
mod progress;
mod publish;
mod run;
mod statements;
mod status;
mod sync;
mod warm;

use std::fmt::Display;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Args, Parser, Subcommand};
use lamplighter_core::telemetry::LogFormat;

use crate::app;
use crate::config::{self, ConfigProblem};

/// The agent or a request failed.
const FAILED: u8 = 1;
/// Somebody else was faster.
const RACED: u8 = 3;
/// The command line or the configuration is wrong (sysexits.h, `EX_USAGE`): starting again will not help.
const USAGE: u8 = 64;
/// Waited for its configuration, which is there now: to be started again (sysexits.h, `EX_TEMPFAIL`).
const AGAIN: u8 = 75;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    " (git ",
    env!("LAMPLIGHTER_REVISION"),
    ", rustc ",
    env!("LAMPLIGHTER_RUSTC"),
    ")"
);

const AFTER_HELP: &str = "\
Exit codes:
  0   done; for `run`: left because it was asked to
  1   failed: a port is taken, a server cannot be reached, the running agent said no
  3   `publish`: somebody else published meanwhile; nothing was changed
  64  the command line or the configuration is wrong; starting again will not help
  75  `run` under systemd waited for its configuration, which is there now: systemd starts it again

Files:
  /etc/lamplighter/lamplighter.toml  the configuration; every key is explained in it
  /run/lamplighter/admin.sock        where status, drain, undrain and reload reach the running agent
  /run/lamplighter/*.sock            where the application finds MySQL and Redis

Signals to the running agent:
  SIGHUP   as `lamplighter reload`
  SIGTERM  as SIGINT: sheds load, ends what is in flight, leaves; a second one leaves at once";

/// The agent that every instance of the scale set runs: a local MySQL and Redis for PHP, flat files from Azure Storage, and
/// truthful answers for the load balancer.
#[derive(Debug, Parser)]
#[command(name = "lamplighter", version = VERSION, after_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the agent in the foreground until it is told to leave.
    Run(RunArgs),
    /// Check the configuration and print every problem with its file and line.
    ///
    /// Without --online nothing is connected to and nothing is changed: safe to run beside a running agent, and before
    /// every reload.
    Check(CheckArgs),
    /// Print the configuration as the agent understands it, defaults filled in.
    ///
    /// Holds no secret: files that hold secrets appear as paths, and addresses lose user names, passwords and signatures.
    PrintConfig(FileArgs),
    /// Show what the running agent does and how it is.
    Status(StatusArgs),
    /// Show the MySQL endpoint: servers, lag, pools, who waits, why statements went where they went, what costs most.
    #[command(args_conflicts_with_subcommands = true)]
    Mysql(MysqlArgs),
    /// Say where a statement would go, why, and what it would keep its connection for.
    ///
    /// Nothing is sent to a server. Asks the running agent for its state; without one the text and the configuration must do.
    Explain(ExplainArgs),
    /// Ask the load balancer to look away: /lb answers 503 while everything still serves.
    ///
    /// The agent stays until `undrain` takes it back or a signal ends it.
    Drain(DrainArgs),
    /// Take a `drain` back: /lb answers 200 again.
    Undrain(AdminArgs),
    /// Read the configuration file again, without dropping a connection.
    ///
    /// A file with a problem changes nothing: the problems are printed and the exit code is not 0.
    Reload(AdminArgs),
    /// Files: how the [[sync]] entries are, what a pass would do, passes, rollback.
    Sync(sync::SyncArgs),
    /// Warm jobs: how the [[warm]] tables are, runs by hand.
    Warm(warm::WarmArgs),
    /// Publish a directory as a release that [[sync]] entries take: contents, a bundle, a manifest.
    ///
    /// Instances go on serving the release before until the manifest is written, which is done last and only if nobody
    /// else published meanwhile.
    Publish(publish::PublishArgs),
    /// Print what packages hold about this program: manual pages or completions for a shell.
    #[command(hide = true)]
    Generate(GenerateArgs),
}

#[derive(Debug, Args)]
struct GenerateArgs {
    /// man, bash, zsh or fish.
    what: generate::What,
    /// The folder for the manual pages.
    #[arg(default_value = ".")]
    folder: PathBuf,
}

#[derive(Debug, Args)]
struct FileArgs {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = config::DEFAULT_PATH)]
    config: PathBuf,
}

#[derive(Debug, Args)]
struct RunArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The form of log lines: auto, text, json or journald. Default: telemetry.log_format, which is auto.
    ///
    /// auto is the journal's own protocol under systemd and readable text elsewhere.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<LogFormat>,
    /// What is logged, for example info or info,lamplighter_mysql=debug. Default: telemetry.log_filter, which is info.
    #[arg(long, value_name = "FILTER")]
    log_filter: Option<String>,
}

#[derive(Debug, Args)]
struct CheckArgs {
    #[command(flatten)]
    file: FileArgs,
    /// Also connect to every server named, log in, and print what was found.
    #[arg(long)]
    online: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct AdminArgs {
    #[command(flatten)]
    file: FileArgs,
    /// The running agent's admin socket. Default: health.admin_socket of the configuration file.
    #[arg(long, value_name = "SOCKET")]
    admin_socket: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct StatusArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct MysqlArgs {
    #[command(subcommand)]
    command: Option<MysqlCommand>,
    #[command(flatten)]
    status: StatusArgs,
}

#[derive(Debug, Subcommand)]
enum MysqlCommand {
    /// The statements that took most time, by digest: calls, errors, latencies, rows, how many went to replicas.
    Top(TopArgs),
    /// The clients that keep a server connection: why, for how long, since which statement.
    Pins(StatusArgs),
    /// The same as `lamplighter explain`: where a statement would go, and why.
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct TopArgs {
    #[command(flatten)]
    status: StatusArgs,
    /// How many digests to show.
    #[arg(long, value_name = "COUNT", default_value_t = 20)]
    limit: usize,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    #[command(flatten)]
    status: StatusArgs,
    /// Do not ask the running agent.
    #[arg(long)]
    offline: bool,
    /// The statement; - reads it from standard input.
    #[arg(value_name = "SQL")]
    sql: String,
}

#[derive(Debug, Args)]
struct DrainArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// Wait until the load balancer has had the time to look away (probe interval times threshold).
    #[arg(long)]
    wait: bool,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // a closed pipe is the reader's business
            let _closed = error.print();
            return ExitCode::from(code_of(&error));
        }
    };
    app::install_tls();
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::PrintConfig(args) => check::print_config(&args),
        Command::Status(args) => status::status(&args),
        Command::Mysql(args) => mysql(&args),
        Command::Explain(args) => statements::explain(&args),
        Command::Drain(args) => status::drain(&args),
        Command::Undrain(args) => status::undrain(&args),
        Command::Reload(args) => status::reload(&args),
        Command::Generate(args) => generate::generate(&args),
        Command::Sync(args) => sync::sync(&args),
        Command::Warm(args) => warm::warm(&args),
        Command::Publish(args) => publish::publish(&args),
    }
}

fn mysql(args: &MysqlArgs) -> ExitCode {
    match &args.command {
        None => overview::overview(&args.status),
        Some(MysqlCommand::Top(args)) => statements::top(args),
        Some(MysqlCommand::Pins(args)) => statements::pins(args),
        Some(MysqlCommand::Explain(args)) => statements::explain(args),
    }
}

/// Help and version are asked for and end well; everything else clap has to say is wrong usage.
fn code_of(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        _ => USAGE,
    }
}

/// Writes `text` to standard output.
fn print(text: impl Display) {
    // a closed pipe (`| head`) is the reader's business
    let _closed = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes `text` to standard error.
fn complain(text: impl Display) {
    let _closed = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints every problem and how many there are.
fn complain_all(problems: &[ConfigProblem]) -> ExitCode {
    for problem in problems {
        complain(format_args!("{problem}\n"));
    }
    let file = problems
        .first()
        .map(|problem| problem.file.display().to_string())
        .unwrap_or_default();
    let plural = if problems.len() == 1 { "" } else { "s" };
    complain(format_args!("{file}: {} problem{plural}", problems.len()));
    ExitCode::from(USAGE)
}

#[cfg(test)]
mod tests;
