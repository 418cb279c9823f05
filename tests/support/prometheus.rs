//! Prometheus' own judgement of what the agent serves.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::programs;

/// `promtool check metrics` on an exposition: names, units, HELP and TYPE lines. The error is promtool's complaints.
pub(crate) fn lint(exposition: &str) -> Result<(), String> {
    let mut child = Command::new(programs::find("promtool", "prometheus"))
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut input = child.stdin.take().expect("a pipe");
    let text = exposition.to_owned();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    drop(writer.join());
    verdict(&output)
}

/// `promtool check rules` on an alert or recording rule file.
pub(crate) fn check_rules(file: &Path) -> Result<(), String> {
    let output = Command::new(programs::find("promtool", "prometheus"))
        .args(["check", "rules"])
        .arg(file)
        .output()
        .map_err(|error| error.to_string())?;
    verdict(&output)
}

fn verdict(output: &std::process::Output) -> Result<(), String> {
    // it complains with exit code 3, or 1 for what cannot be parsed
    if output.status.success() {
        return Ok(());
    }
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Err(
        format!("{}\n{}", text(&output.stdout), text(&output.stderr))
            .trim()
            .to_owned(),
    )
}
