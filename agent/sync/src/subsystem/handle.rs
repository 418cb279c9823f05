//! What running entries are asked: how they are, to make a pass, to go back.

use std::sync::Arc;

use lamplighter_core::ask::{Asked, Question, Questions};
use lamplighter_core::lifecycle::Tasks;
use serde_json::json;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::attempts::Progress;
use crate::job::{Command, JobStatus};

/// Reads and asks running entries.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Vec<Seat>);

#[derive(Debug, Clone)]
pub(super) struct Seat {
    pub(super) status: watch::Receiver<JobStatus>,
    pub(super) nudge: Arc<Notify>,
    pub(super) asks: mpsc::Sender<Command>,
    pub(super) progress: Arc<Progress>,
}

/// Why an entry did not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No entry has this name.
    #[error("there is no [[sync]] entry {0:?}")]
    Unknown(String),
    /// It has too much to do, or leaves.
    #[error("the entry is busy, or the agent is leaving; ask again")]
    Busy,
    /// It said no.
    #[error("{0}")]
    Refused(String),
}

impl Handle {
    /// How every entry is.
    #[must_use]
    pub fn statuses(&self) -> Vec<JobStatus> {
        self.0
            .iter()
            .map(|seat| {
                let mut status = seat.status.borrow().clone();
                if status.running {
                    (status.done_files, status.done_bytes) = seat.progress.read();
                }
                status
            })
            .collect()
    }

    fn seat(&self, name: &str) -> Result<&Seat, AskError> {
        let mut seats = self.0.iter();
        seats
            .find(|seat| seat.status.borrow().name == name)
            .ok_or_else(|| AskError::Unknown(name.to_owned()))
    }

    /// Starts the next pass of the entry `name` now. Whether there is such an entry.
    #[must_use]
    pub fn run_now(&self, name: &str) -> bool {
        let seat = self.seat(name);
        if let Ok(seat) = seat {
            seat.nudge.notify_one();
        }
        seat.is_ok()
    }

    /// Has the entry `name` go back to the release `to`, or to the one before the live one. The release that is live then.
    ///
    /// # Errors
    /// If there is no such entry or release.
    pub async fn roll_back(&self, name: &str, to: Option<String>) -> Result<String, AskError> {
        let (reply, answer) = oneshot::channel();
        let asks = &self.seat(name)?.asks;
        asks.try_send(Command::RollBack(to, reply))
            .map_err(|_| AskError::Busy)?;
        answer
            .await
            .map_err(|_| AskError::Busy)?
            .map_err(AskError::Refused)
    }
}

impl Handle {
    /// Answers what comes in by the admin interface until `tasks` drain.
    pub(crate) async fn answer(self, mut questions: Questions, tasks: Tasks) {
        loop {
            let asked = tokio::select! {
                asked = questions.recv() => asked,
                () = tasks.draining() => None,
            };
            let Some(Asked { question, reply }) = asked else {
                return;
            };
            let answer = self.answer_one(question).await;
            // whoever asked may have gone
            let _gone = reply.send(answer);
        }
    }

    async fn answer_one(&self, question: Question) -> Result<String, String> {
        let Question {
            verb,
            command,
            name,
            argument,
        } = question;
        let told = |error: AskError| error.to_string();
        match (verb.as_str(), command) {
            ("status", false) => {
                let mut entries = self.statuses();
                if !name.is_empty() {
                    self.seat(&name).map_err(told)?;
                    entries.retain(|entry| entry.name == name);
                }
                serde_json::to_string(&json!({ "entries": entries }))
                    .map_err(|error| error.to_string())
            }
            ("run", true) => {
                let status = self.seat(&name).map_err(told)?.status.borrow().clone();
                // one that is under way may have looked already: wanted is one that begins after this
                let until = status.passes + 1 + u64::from(status.running);
                let _there = self.run_now(&name);
                Ok(json!({ "until_passes": until }).to_string())
            }
            ("rollback", true) => {
                let release = self.roll_back(&name, argument).await.map_err(told)?;
                Ok(json!({ "release": release }).to_string())
            }
            _ => Err(format!("sync cannot be asked {verb:?} in this way")),
        }
    }
}
