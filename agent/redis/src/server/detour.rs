//! Errors of a server that are no answer but a hint where or when to ask. What they mean is decided here, without IO; what is done
//! about it is the router's.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::command::Target;
use super::command::{Command, Failure};
use crate::endpoint::Data;

/// Commands that may wait for another way.
pub(super) const WAITING_MAX: usize = 4096;

/// What a server's error says about where to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The slot lives elsewhere for good.
    Moved { slot: u16, address: String },
    /// This one key may be elsewhere, the slot is on its way.
    Ask { address: String },
    /// The slot is on its way and its keys are in both places.
    TryAgain,
    /// The server is no primary any more; nothing was executed.
    ReadOnly,
    /// The server is there, but cannot answer now: it loads, or has lost its cluster or its primary.
    NotNow,
    /// The server does not know us any more.
    NotLoggedIn,
}

impl Verdict {
    /// What a whole error reply says, if it is one of these.
    pub(crate) fn of(reply: &[u8]) -> Option<Self> {
        let text = reply.strip_prefix(b"-")?;
        let text = std::str::from_utf8(text.get(..text.len().min(300))?).ok()?;
        let mut words = text.split_ascii_whitespace();
        match words.next()? {
            "MOVED" => Some(Self::Moved {
                slot: words.next()?.parse().ok()?,
                address: words.next()?.to_owned(),
            }),
            "ASK" => Some(Self::Ask {
                address: words.nth(1)?.to_owned(),
            }),
            "TRYAGAIN" => Some(Self::TryAgain),
            "READONLY" => Some(Self::ReadOnly),
            "LOADING" | "MASTERDOWN" | "CLUSTERDOWN" => Some(Self::NotNow),
            "NOAUTH" => Some(Self::NotLoggedIn),
            _ => None,
        }
    }

    /// What reads the error reply of a command; `scripted`: of one that runs a script or function.
    pub(crate) fn reader(scripted: bool) -> fn(&[u8]) -> Option<Self> {
        if scripted { Self::of_script } else { Self::of }
    }

    /// As [`Self::of`], for what may be the words of a script that has run: beside MOVED and ASK, which are only followed within the
    /// cluster, whole sentences of the server count alone. Sent again, a script would do its work twice.
    fn of_script(reply: &[u8]) -> Option<Self> {
        let verdict = Self::of(reply)?;
        let own = match verdict {
            Self::Moved { .. } | Self::Ask { .. } | Self::NotNow => return Some(verdict),
            Self::TryAgain => &b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n"[..],
            Self::ReadOnly => b"-READONLY You can't write against a read only replica.",
            Self::NotLoggedIn => b"-NOAUTH Authentication required.\r\n",
        };
        reply.starts_with(own).then_some(verdict)
    }

    /// Whether the connection is of no more use.
    pub(crate) const fn is_of_connection(&self) -> bool {
        matches!(self, Self::ReadOnly | Self::NotLoggedIn)
    }

    /// The metric label.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Moved { .. } => "moved",
            Self::Ask { .. } => "ask",
            Self::TryAgain => "tryagain",
            Self::ReadOnly => "readonly",
            Self::NotNow => "not_now",
            Self::NotLoggedIn => "noauth",
        }
    }

    pub(crate) const LABELS: [&str; 6] =
        ["moved", "ask", "tryagain", "readonly", "not_now", "noauth"];
}

/// A command that was not executed where it went.
#[derive(Debug)]
pub(crate) struct Detour {
    pub(crate) command: Command,
    pub(crate) verdict: Verdict,
    /// What the server said, for the client if there is no other way.
    pub(crate) reply: Bytes,
}

impl Detour {
    /// There is no other way.
    pub(crate) fn give_up(self) {
        match self.command.target {
            Target::Client { outbox, place, .. } => {
                outbox.add(place, Data::Shared(self.reply), true);
            }
            Target::Part { merge, index } => merge.add(index, self.reply),
            Target::Task(sender) => {
                // whoever asked may have given up
                let _unheard = sender.send(Ok(self.reply));
            }
            Target::Messages(outbox) => {
                outbox.message(Data::Shared(self.reply));
            }
            Target::Nobody => {}
        }
    }
}

/// What can happen to commands on their way that the router has to look after.
#[derive(Debug)]
pub(crate) enum Stray {
    /// Their server pointed elsewhere.
    Detour(Detour),
    /// Their connection is gone; it may be tried once more.
    Again(Command),
}

/// Where commands go that need another way.
#[derive(Debug, Clone)]
pub(crate) struct Detours(Option<mpsc::Sender<Stray>>);

impl Detours {
    pub(crate) const fn new(sender: mpsc::Sender<Stray>) -> Self {
        Self(Some(sender))
    }

    /// For connections of one client: what the server says is the answer.
    pub(crate) const fn none() -> Self {
        Self(None)
    }

    pub(super) fn take(&self, detour: Detour) {
        match &self.0 {
            None => detour.give_up(),
            Some(sender) => match sender.try_send(Stray::Detour(detour)) {
                Ok(()) => {}
                Err(
                    mpsc::error::TrySendError::Full(Stray::Detour(detour))
                    | mpsc::error::TrySendError::Closed(Stray::Detour(detour)),
                ) => detour.give_up(),
                Err(_) => {}
            },
        }
    }

    /// Tries a command once more that its connection did not answer.
    pub(super) fn again(&self, command: Command, failure: &Failure) {
        let back = match &self.0 {
            None => command,
            Some(sender) => match sender.try_send(Stray::Again(command)) {
                Ok(()) => return,
                Err(
                    mpsc::error::TrySendError::Full(Stray::Again(command))
                    | mpsc::error::TrySendError::Closed(Stray::Again(command)),
                ) => command,
                Err(_) => return,
            },
        };
        back.fail(failure, true);
    }
}

/// Why nobody can be asked, shared by all who hear of it.
pub(crate) fn unreachable(reason: &str) -> Failure {
    Failure::Unreachable(Arc::from(reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_script_says_itself_is_its_answer() {
        let read = Verdict::reader(true);
        for own in [
            &b"-TRYAGAIN x\r\n"[..],
            b"-READONLY\r\n",
            b"-NOAUTH please\r\n",
        ] {
            assert_eq!(read(own), None);
            assert!(Verdict::reader(false)(own).is_some());
        }
        let servers = b"-READONLY You can't write against a read only replica. script: 1f, on @user_script:1.\r\n";
        assert_eq!(read(servers), Some(Verdict::ReadOnly));
        let rehashing = b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n";
        assert_eq!(read(rehashing), Some(Verdict::TryAgain));
    }

    #[test]
    fn hints_are_told_from_answers() {
        assert_eq!(
            Verdict::of(b"-MOVED 3999 127.0.0.1:6381\r\n"),
            Some(Verdict::Moved {
                slot: 3999,
                address: "127.0.0.1:6381".into()
            })
        );
        assert_eq!(
            Verdict::of(b"-ASK 3999 host:1\r\n"),
            Some(Verdict::Ask {
                address: "host:1".into()
            })
        );
        assert_eq!(Verdict::of(b"-MOVED\r\n"), None);
        assert_eq!(Verdict::of(b"-ERR MOVED\r\n"), None);
        assert_eq!(Verdict::of(b"+MOVED\r\n"), None);
        let readonly = b"-READONLY You can't write against a read only replica.\r\n";
        assert_eq!(Verdict::of(readonly), Some(Verdict::ReadOnly));
        assert_eq!(Verdict::of(b"-LOADING x\r\n"), Some(Verdict::NotNow));
        assert_eq!(Verdict::of(b"-OOM command not allowed\r\n"), None);
    }
}
