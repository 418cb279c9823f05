//! Questions to a running agent, by name: a subsystem answers them, the admin interface carries them. Registered in `app.rs` at the
//! start; so neither side knows the other. Pure memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// Answers one question. Must be quick: it runs on the thread that also answers probes.
type Answer = dyn Fn(&str) -> Result<String, ViewError> + Send + Sync;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The question makes no sense.
    #[error("{0}")]
    Question(String),
    /// The answer cannot be written as JSON: a bug.
    #[error("cannot write the answer")]
    Encode(#[from] serde_json::Error),
}

/// All questions that can be asked. Clones share them.
#[derive(Clone, Default)]
pub struct Views {
    answers: Arc<BTreeMap<&'static str, Box<Answer>>>,
}

impl fmt::Debug for Views {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.answers.keys()).finish()
    }
}

/// Questions while they are being gathered.
#[derive(Default)]
pub struct ViewsBuilder {
    answers: BTreeMap<&'static str, Box<Answer>>,
}

impl fmt::Debug for ViewsBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.answers.keys()).finish()
    }
}

impl ViewsBuilder {
    /// From now on `answer` answers `name` (`"mysql/top"`). It gets what was asked, often nothing, and gives something to be written
    /// as JSON.
    pub fn add<T: serde::Serialize>(
        &mut self,
        name: &'static str,
        answer: impl Fn(&str) -> Result<T, ViewError> + Send + Sync + 'static,
    ) {
        let answer = move |question: &str| Ok(serde_json::to_string(&answer(question)?)?);
        self.answers.insert(name, Box::new(answer));
    }

    /// No more will come.
    #[must_use]
    pub fn build(self) -> Views {
        Views {
            answers: Arc::new(self.answers),
        }
    }
}

impl Views {
    /// The answer as JSON; `None` if nobody answers to `name`.
    #[must_use]
    pub fn ask(&self, name: &str, question: &str) -> Option<Result<String, ViewError>> {
        self.answers.get(name).map(|answer| answer(question))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_asked_by_name_answers() {
        let mut views = ViewsBuilder::default();
        views.add("length", |question: &str| Ok(question.len()));
        views.add("never", |_: &str| {
            Err::<u8, _>(ViewError::Question("no".to_owned()))
        });
        let views = views.build();
        let answer = |name, question| {
            views
                .ask(name, question)
                .map(|answer| answer.map_err(|error| error.to_string()))
        };
        assert_eq!(answer("length", "abc"), Some(Ok("3".to_owned())));
        assert_eq!(answer("never", ""), Some(Err("no".to_owned())));
        assert_eq!(answer("unknown", ""), None);
        assert_eq!(format!("{views:?}"), r#"{"length", "never"}"#);
    }
}
