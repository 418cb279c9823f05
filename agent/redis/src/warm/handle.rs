//! What running jobs are asked: how they are, and to run. In memory only.

use std::sync::Arc;

use lamplighter_core::ask::{Asked, Question, Questions};
use lamplighter_core::lifecycle::Tasks;
use serde_json::json;
use tokio::sync::mpsc;

use super::job::Errand;
use super::standing::{Standing, State, WarmStatus};

/// One job, as it can be asked.
#[derive(Debug)]
pub(crate) struct Seat {
    standing: Arc<Standing>,
    errands: mpsc::Sender<Errand>,
}

impl Seat {
    /// The seat of a job, and where it hears what it is asked to do.
    pub(crate) fn new(standing: Arc<Standing>) -> (Self, mpsc::Receiver<Errand>) {
        let (errands, heard) = mpsc::channel(1);
        (Self { standing, errands }, heard)
    }
}

/// Answers for all jobs.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) seats: Vec<Seat>,
    pub(crate) questions: Questions,
}

impl Desk {
    /// Answers what comes in by the admin interface until `tasks` drain.
    pub(crate) async fn answer(mut self, tasks: Tasks) {
        loop {
            let asked = tokio::select! {
                asked = self.questions.recv() => asked,
                () = tasks.draining() => None,
            };
            let Some(Asked { question, reply }) = asked else {
                return;
            };
            // whoever asked may have gone
            let _gone = reply.send(self.answer_one(&question));
        }
    }

    fn answer_one(&self, question: &Question) -> Result<String, String> {
        match (question.verb.as_str(), question.command) {
            ("status", false) => {
                let mut jobs: Vec<WarmStatus> =
                    self.seats.iter().map(|seat| seat.standing.read()).collect();
                if !question.name.is_empty() {
                    self.seat(&question.name)?;
                    jobs.retain(|job| job.name == question.name);
                }
                Ok(json!({ "jobs": jobs }).to_string())
            }
            ("run", true) => {
                let errand = match question.argument.as_deref() {
                    None => Errand::Run,
                    Some("dry") => Errand::DryRun,
                    Some(other) => return Err(format!("a job cannot be run {other:?}")),
                };
                let seat = self.seat(&question.name)?;
                let status = seat.standing.read();
                let running = matches!(status.state, State::Running | State::DryRun);
                let asked = seat.errands.try_send(errand);
                asked
                    .map_err(|_| "it has been asked already, or the agent is leaving".to_owned())?;
                // one that is under way ends first
                let until = status.runs + 1 + u64::from(running);
                Ok(json!({ "until_runs": until }).to_string())
            }
            (verb, _) => Err(format!("warm cannot be asked {verb:?} in this way")),
        }
    }

    fn seat(&self, name: &str) -> Result<&Seat, String> {
        let mut seats = self.seats.iter();
        seats
            .find(|seat| seat.standing.read().name == name)
            .ok_or_else(|| format!("there is no [[warm]] job {name:?}"))
    }
}
