//! What concerns the process as a whole: signals, reloads, and the heartbeat of the main runtime. Installs signal handlers.

use std::io;

use lamplighter_core::fault::Fault;
use lamplighter_core::lifecycle::{Control, DrainSource, Drained, Heartbeat, Scope, Subsystem};
use lamplighter_health::ReloadReply;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::reload::Reloader;

/// Answers signals and reloads.
#[derive(Debug)]
pub(super) struct Process {
    signals: Signals,
    heartbeat: Heartbeat,
    control: Control,
    reloader: Reloader,
    reloads: mpsc::Receiver<ReloadReply>,
}

/// The signals the agent answers. From their creation on they no longer end the process.
#[derive(Debug)]
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs the handlers; needs a runtime.
    pub(super) fn install() -> io::Result<Self> {
        Ok(Self {
            hangup: signal(SignalKind::hangup())?,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }
}

impl Process {
    pub(super) const fn new(
        signals: Signals,
        heartbeat: Heartbeat,
        control: Control,
        reloader: Reloader,
        reloads: mpsc::Receiver<ReloadReply>,
    ) -> Self {
        Self {
            signals,
            heartbeat,
            control,
            reloader,
            reloads,
        }
    }

    /// The first asks, the second insists.
    fn leave(&self, signal: &'static str, asked_before: bool) {
        if asked_before {
            tracing::warn!(signal, "asked again; stopping now");
            self.control.stop();
        } else {
            tracing::info!(signal, "leaving; a second signal stops at once");
            self.control.drain(DrainSource::Signal);
        }
    }
}

impl Subsystem for Process {
    fn name(&self) -> &'static str {
        "process"
    }

    async fn run(mut self, mut scope: Scope) -> Result<Drained, Fault> {
        let tasks = scope.tasks().clone();
        let heartbeat = self.heartbeat.clone();
        scope.spawn("heartbeat", async move {
            tokio::select! {
                () = tasks.draining() => {}
                () = heartbeat.beat() => {}
            }
        });
        scope.ready();
        let mut asked = false;
        loop {
            tokio::select! {
                () = scope.draining() => break,
                Some(()) = self.signals.terminate.recv() => {
                    self.leave("SIGTERM", asked);
                    asked = true;
                }
                Some(()) = self.signals.interrupt.recv() => {
                    self.leave("SIGINT", asked);
                    asked = true;
                }
                Some(()) = self.signals.hangup.recv() => {
                    // what became of it is in the log and in the metrics
                    let _reloaded = self.reloader.reload();
                }
                Some(answer) = self.reloads.recv() => {
                    // whoever asked may have gone
                    let _gone = answer.send(self.reloader.reload().into_reply());
                }
            }
        }
        scope.finish().await
    }
}
