//! Runs the operator's program when the instance begins to leave, and another when it has come back. 503 on `/lb` stops new
//! connections only: for a web server that does not look for the file `shedding`, such a program asks it to end those it keeps.

use std::process::Stdio;
use std::time::Duration;

use lamplighter_core::lifecycle::{Duty, Step, Tasks};
use tokio::process::Command;

use crate::config::Shutdown;

/// How long the program may take that is run when the instance comes back.
const RETURN_TIME: Duration = Duration::from_secs(30);

/// Does the telling.
#[derive(Debug)]
pub(super) struct Herald {
    on_leave: Vec<String>,
    on_return: Vec<String>,
}

impl Herald {
    pub(super) fn new(config: &Shutdown) -> Self {
        Self {
            on_leave: config.on_leave.clone(),
            on_return: config.on_return.clone(),
        }
    }

    /// Tells until draining begins.
    pub(super) async fn run(self, tasks: Tasks) {
        if self.on_leave.is_empty() && self.on_return.is_empty() {
            return;
        }
        let duty = tasks.duty(Step::Shedding, "on_leave");
        tokio::select! {
            () = self.follow(duty, &tasks) => {}
            () = tasks.draining() => {}
        }
    }

    async fn follow(&self, mut duty: Duty, tasks: &Tasks) {
        let departures = tasks.departures();
        loop {
            let call = duty.called().await;
            let source = departures.progress().map_or("", |it| it.source.label());
            tokio::select! {
                () = run(&self.on_leave, source) => {}
                () = call.over() => tracing::warn!(program = ?self.on_leave, "stopped: it took longer than the load balancer's time"),
            }
            drop(call);
            // whoever else asks meanwhile finds it told already
            loop {
                tokio::select! {
                    () = departures.recalled() => break,
                    again = duty.called() => drop(again),
                }
            }
            let ran = tokio::time::timeout(RETURN_TIME, run(&self.on_return, "")).await;
            if ran.is_err() {
                tracing::warn!(program = ?self.on_return, "stopped: it took longer than {RETURN_TIME:?}");
            }
        }
    }
}

/// Runs a program to its end; dropping the future kills it.
async fn run(program: &[String], source: &str) {
    let Some((name, arguments)) = program.split_first() else {
        return;
    };
    let child = Command::new(name)
        .args(arguments)
        .env("LAMPLIGHTER_SOURCE", source)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    match child.await {
        Ok(status) if status.success() => tracing::info!(program = name, "ran"),
        Ok(status) => tracing::warn!(program = name, %status, "failed"),
        Err(error) => tracing::warn!(program = name, %error, "cannot be run"),
    }
}
