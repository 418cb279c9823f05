//! Whose state the state directory holds. A machine that was made from an image of a live one starts with that one's files; they are
//! wiped before anybody reads them. The directory remembers the id of the machine in one small file.
//!
//! The id comes from the instance metadata service, which a start waits for a second at most, and only where there is state of a
//! known machine. If the answer comes later and says "another machine", the agent ends with a fault and its next start wipes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lamplighter_core::fault::chain;
use lamplighter_core::instance::Instance;

use crate::imds::Imds;
use crate::instance;

/// Who owns the directory.
const OWNER: &str = "instance";

/// Left by an agent that found out too late; holds the new owner.
const SUCCESSOR: &str = "instance.new";

/// How long a start waits for the service.
const WAIT: Duration = Duration::from_secs(1);

/// What is wiped: the folders that parts keep their state in, and nothing else, whatever the directory is.
const FOLDERS: [&str; 4] = ["sync", "mysql", "redis", "fleet"];

/// The state directory and its owner.
#[derive(Debug, Clone)]
pub struct StateDir {
    dir: PathBuf,
}

impl StateDir {
    /// The directory at `dir`, which may not exist yet.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
        }
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }

    /// Makes sure that no part reads another machine's state. Gives back what the service said, so that it need not be asked again.
    pub(crate) async fn settle(&self, imds: Option<&Imds>) -> Option<Instance> {
        if let Some(successor) = self.read(SUCCESSOR) {
            self.wipe(&successor);
        }
        let owner = self.read(OWNER)?;
        let asked = tokio::time::timeout(WAIT, instance::ask(imds?)).await;
        match asked {
            Ok(Ok(instance)) => {
                if instance.vm_id != owner {
                    self.wipe(&instance.vm_id);
                }
                Some(instance)
            }
            Ok(Err(error)) => {
                tracing::debug!("starting without knowing this machine: {}", chain(&error));
                None
            }
            Err(_) => {
                tracing::debug!("starting without knowing this machine");
                None
            }
        }
    }

    /// This machine is `vm_id`: notes it, or says that the state in use is another machine's.
    pub(crate) fn claim(&self, vm_id: &str) -> Claim {
        match self.read(OWNER) {
            Some(owner) if owner == vm_id => Claim::Ours,
            None => match self.write(OWNER, vm_id) {
                Ok(()) => Claim::Ours,
                Err(error) => {
                    // a disk that is full or read-only is for others to tell
                    tracing::debug!(dir = %self.dir.display(), %error, "cannot note which machine this is");
                    Claim::Ours
                }
            },
            Some(owner) => match self.write(SUCCESSOR, vm_id) {
                Ok(()) => Claim::Another { owner },
                Err(error) => {
                    tracing::error!(dir = %self.dir.display(), %error, owner, "the state is another machine's and cannot be wiped");
                    Claim::Ours
                }
            },
        }
    }

    fn wipe(&self, vm_id: &str) {
        tracing::warn!(dir = %self.dir.display(), vm_id, "the state is another machine's; wiping it");
        for folder in FOLDERS {
            let path = self.dir.join(folder);
            match fs::remove_dir_all(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    tracing::error!(path = %path.display(), %error, "cannot wipe another machine's state");
                    return;
                }
            }
        }
        let noted = self.write(OWNER, vm_id).and_then(|()| {
            match fs::remove_file(self.dir.join(SUCCESSOR)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        if let Err(error) = noted {
            tracing::warn!(dir = %self.dir.display(), %error, "cannot note which machine this is");
        }
    }

    fn read(&self, name: &str) -> Option<String> {
        let text = fs::read_to_string(self.dir.join(name)).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn write(&self, name: &str, vm_id: &str) -> io::Result<()> {
        fs::create_dir_all(&self.dir)?;
        let fresh = self.dir.join(format!("{name}.tmp"));
        fs::write(&fresh, format!("{vm_id}\n"))?;
        fs::rename(fresh, self.dir.join(name))
    }
}

/// Whose the state is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// This machine's.
    Ours,
    /// Another's, and it is in use: the next start wipes it.
    Another { owner: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_another_machine_left_is_wiped_at_the_next_start_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(&dir.path().join("state"));
        assert!(state.settle(None).await.is_none());
        assert_eq!(state.claim("one"), Claim::Ours);
        let file = |name: &str| dir.path().join("state").join(name);
        fs::create_dir_all(file("sync/site")).unwrap();
        fs::write(file("sync/site/index"), "x").unwrap();
        fs::write(file("note of somebody else"), "x").unwrap();
        state.settle(None).await;
        assert!(file("sync/site/index").exists(), "the same machine");

        let late = Claim::Another {
            owner: "one".to_owned(),
        };
        assert_eq!(state.claim("two"), late);
        assert!(file("sync/site/index").exists(), "it is in use");
        state.settle(None).await;
        assert!(!file("sync").exists());
        assert!(file("note of somebody else").exists());
        assert_eq!(state.claim("two"), Claim::Ours);
        assert!(!file(SUCCESSOR).exists());
    }
}
