//! Questions and commands that come in by the admin socket and are answered by a subsystem. The admin interface only carries
//! them: what the words mean is the subsystem's business. Memory only.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// How many questions to one subsystem may wait.
const WAITING_MAX: usize = 16;
/// How long a subsystem may think. What takes longer is begun, and asked about again.
const ANSWER_TIME: Duration = Duration::from_secs(8);

/// What is asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Question {
    /// What is to be done or told (`"status"`, `"rollback"`).
    pub verb: String,
    /// Whether it may change something: it came as a command, by the unix socket.
    pub command: bool,
    /// The entry it is about; empty for all.
    pub name: String,
    /// A word more, if the verb needs one.
    pub argument: Option<String>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// What was asked for is not there, or cannot be; for people.
    #[error("{0}")]
    Refused(String),
    /// Too many questions wait, or the subsystem is gone or stuck.
    #[error("no answer: the agent is starting, leaving, or too busy; ask again")]
    Silent,
}

/// A question and where the answer is wanted: JSON, or why there is none.
#[derive(Debug)]
pub struct Asked {
    /// What is asked.
    pub question: Question,
    /// Takes the answer; whoever asked may have gone.
    pub reply: oneshot::Sender<Result<String, String>>,
}

/// Where a subsystem's questions come from.
pub type Questions = mpsc::Receiver<Asked>;

/// Asks one subsystem.
#[derive(Debug, Clone)]
pub struct Asker(mpsc::Sender<Asked>);

impl Asker {
    /// A way to ask, and the end that answers.
    #[must_use]
    pub fn new() -> (Self, Questions) {
        let (sender, questions) = mpsc::channel(WAITING_MAX);
        (Self(sender), questions)
    }

    /// Asks, and waits for the answer for a bounded time.
    ///
    /// # Errors
    /// If the subsystem says no, or nothing.
    pub async fn ask(&self, question: Question) -> Result<String, NoAnswer> {
        let (reply, answer) = oneshot::channel();
        self.0
            .try_send(Asked { question, reply })
            .map_err(|_| NoAnswer::Silent)?;
        match timeout(ANSWER_TIME, answer).await {
            Ok(Ok(answer)) => answer.map_err(NoAnswer::Refused),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Silent),
        }
    }
}

#[cfg(test)]
mod tests {
    //! An answer, a refusal, and nobody there.

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_is_answered_refused_or_given_up() {
        let (asker, mut questions) = Asker::new();
        let question = Question {
            verb: "status".to_owned(),
            ..Question::default()
        };
        for answer in [Ok("{}".to_owned()), Err("no".to_owned())] {
            let (got, ()) = tokio::join!(asker.ask(question.clone()), async {
                let asked = questions.recv().await.unwrap();
                assert_eq!(asked.question, question);
                asked.reply.send(answer.clone()).unwrap();
            });
            assert_eq!(got, answer.map_err(NoAnswer::Refused));
        }
        // nobody takes it: given up after a while, and at once when too many wait
        let waiting = (0..=WAITING_MAX).map(|_| asker.ask(question.clone()));
        let all = futures_join(waiting).await;
        assert!(all.iter().all(|one| *one == Err(NoAnswer::Silent)));
        drop(questions);
        assert_eq!(asker.ask(question).await, Err(NoAnswer::Silent));
    }

    async fn futures_join<F: Future + Send>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut outputs = Vec::new();
        for one in all {
            outputs.push(one.await);
        }
        outputs
    }
}
