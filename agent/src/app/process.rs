//! What concerns the process as a whole: signals, reloads, and the heartbeat of the main runtime. Installs signal handlers.

use std::io;
use std::path::PathBuf;

use lamplighter_core::fault::Fault;
use lamplighter_core::lifecycle::{
    Control, DrainSource, Drained, Heartbeat, Phase, Scope, Subsystem,
};
use lamplighter_core::net::Handover;
use lamplighter_health::ReloadReply;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::herald::Herald;
use super::reload::Reloader;

/// Answers signals and reloads.
#[derive(Debug)]
pub(super) struct Process {
    signals: Signals,
    heartbeat: Heartbeat,
    leaving: Leaving,
    reloader: Reloader,
    reloads: mpsc::Receiver<ReloadReply>,
    signs: Option<Signs>,
}

/// How others on the machine learn that the instance is leaving.
#[derive(Debug)]
pub(super) struct Signs {
    pub(super) file: Option<(PathBuf, watch::Receiver<Phase>)>,
    pub(super) herald: Herald,
}

/// How the process leaves when a signal asks it to.
#[derive(Debug)]
pub(super) struct Leaving {
    control: Control,
    handover: Handover,
    /// There when the service manager is restarting us; `systemd/leaving` makes it before the signal comes.
    restarting: Option<PathBuf>,
    asked: bool,
}

impl Leaving {
    pub(super) fn new(control: Control, handover: Handover) -> Self {
        let folder = std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from);
        let leaving = Self {
            control,
            handover,
            restarting: folder.map(|folder| folder.join("restarting")),
            asked: false,
        };
        // left over from an end that did not come
        leaving.is_restart();
        leaving
    }

    /// Whether a successor will take the sockets; true once per restart.
    fn is_restart(&self) -> bool {
        self.handover.is_kept()
            && self
                .restarting
                .as_ref()
                .is_some_and(|mark| std::fs::remove_file(mark).is_ok())
    }

    /// The first signal asks, the second insists.
    fn ask(&mut self, signal: &'static str) {
        if self.asked {
            tracing::warn!(signal, "asked again; stopping now");
            return self.control.stop();
        }
        self.asked = true;
        if self.is_restart() {
            tracing::info!(signal, "leaving; the next agent takes the sockets");
            self.control.restart();
        } else {
            tracing::info!(signal, "leaving; a second signal stops at once");
            self.handover.leave_for_good();
            self.control.drain(DrainSource::Signal);
        }
    }
}

/// The file `shedding` in the runtime directory: there while the instance leaves its pool, so that the web server can end the
/// connections that a load balancer keeps open. It stays when the agent has left; the next one takes it away.
pub(super) async fn show_shedding(folder: PathBuf, mut phases: watch::Receiver<Phase>) {
    let sign = folder.join("shedding");
    loop {
        let leaving = *phases.borrow_and_update() >= Phase::Shedding;
        let outcome = match (leaving, sign.exists()) {
            (true, false) => std::fs::write(&sign, ""),
            (false, true) => std::fs::remove_file(&sign),
            _ => Ok(()),
        };
        if let Err(error) = outcome {
            tracing::warn!(file = %sign.display(), %error, "the web server does not learn that this instance is leaving");
        }
        if phases.changed().await.is_err() {
            return;
        }
    }
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
    pub(super) fn new(
        signals: Signals,
        heartbeat: Heartbeat,
        leaving: Leaving,
        reloader: Reloader,
        reloads: mpsc::Receiver<ReloadReply>,
        signs: Signs,
    ) -> Self {
        Self {
            signals,
            heartbeat,
            leaving,
            reloader,
            reloads,
            signs: Some(signs),
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
        if let Some(signs) = self.signs.take() {
            let tasks = scope.tasks().clone();
            scope.spawn("herald", signs.herald.run(tasks));
            if let Some((folder, phases)) = signs.file {
                let tasks = scope.tasks().clone();
                scope.spawn("sign", async move {
                    tokio::select! {
                        () = tasks.draining() => {}
                        () = show_shedding(folder, phases) => {}
                    }
                });
            }
        }
        scope.ready();
        loop {
            tokio::select! {
                () = scope.draining() => break,
                Some(()) = self.signals.terminate.recv() => {
                    self.leaving.ask("SIGTERM");
                }
                Some(()) = self.signals.interrupt.recv() => {
                    self.leaving.ask("SIGINT");
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
