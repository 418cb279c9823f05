//! `lamplighter check` and `print-config`: what the file says and what is wrong with it.

use std::process::ExitCode;

use lamplighter_core::config::OnlineCheck;
use lamplighter_core::fault::chain;
use serde_json::{Value, json};

use super::{CheckArgs, FAILED, FileArgs, USAGE, complain, complain_all, print};
use crate::app;
use crate::config::{self, ConfigProblem, Loaded};

pub(super) fn print_config(args: &FileArgs) -> ExitCode {
    let loaded = match config::load(&args.config) {
        Ok(loaded) => loaded,
        Err(problems) => return complain_all(&problems),
    };
    match loaded.config.to_toml() {
        Ok(text) => {
            print(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(format_args!("error: {}", chain(&error)));
            ExitCode::from(FAILED)
        }
    }
}

pub(super) fn check(args: &CheckArgs) -> ExitCode {
    let (loaded, problems) = match config::load(&args.file.config) {
        Ok(loaded) => {
            let problems = loaded.secret_problems();
            (Some(loaded), problems)
        }
        Err(problems) => (None, problems),
    };
    let rows = match &loaded {
        Some(loaded) if args.online && problems.is_empty() => match online(loaded) {
            Ok(rows) => rows,
            Err(error) => {
                complain(format_args!("error: {}", chain(&error)));
                return ExitCode::from(FAILED);
            }
        },
        _ => Vec::new(),
    };
    let failures = rows.iter().filter(|row| row.outcome.is_err()).count();
    if args.json {
        print(as_json(args, &problems, &rows));
    } else if problems.is_empty() {
        print(format_args!("{}: ok", args.file.config.display()));
        if !rows.is_empty() {
            print(format_args!("\n{}", table(&rows)));
        }
    } else {
        complain_all(&problems);
    }
    if !problems.is_empty() {
        ExitCode::from(USAGE)
    } else if failures > 0 {
        ExitCode::from(FAILED)
    } else {
        ExitCode::SUCCESS
    }
}

/// Connects to everything, on a small runtime of its own.
fn online(loaded: &Loaded) -> Result<Vec<OnlineCheck>, std::io::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    Ok(runtime.block_on(app::probe(loaded)))
}

fn as_json(args: &CheckArgs, problems: &[ConfigProblem], rows: &[OnlineCheck]) -> Value {
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let (ok, detail) = match &row.outcome {
                Ok(detail) => (true, detail),
                Err(detail) => (false, detail),
            };
            json!({ "what": row.what, "target": row.target, "ok": ok, "detail": detail })
        })
        .collect();
    json!({
        "file": args.file.config,
        "ok": problems.is_empty() && rows.iter().all(|row| row["ok"] == true),
        "problems": problems,
        "online": rows,
    })
}

/// The rows under each other, the columns as wide as they must be.
fn table(rows: &[OnlineCheck]) -> String {
    let width = |of: fn(&OnlineCheck) -> &str| {
        rows.iter()
            .map(|row| of(row).chars().count())
            .max()
            .unwrap_or_default()
    };
    let (what, target) = (width(|row| &row.what), width(|row| &row.target));
    let lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let (mark, detail) = match &row.outcome {
                Ok(detail) => ("ok  ", detail),
                Err(detail) => ("FAIL", detail),
            };
            format!(
                "{mark}  {:what$}  {:target$}  {detail}",
                row.what, row.target
            )
        })
        .collect();
    lines.join("\n")
}
