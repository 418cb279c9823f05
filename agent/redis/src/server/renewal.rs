//! A connection that is open when the machine's identity gets a new token: which token is shown on it next, when, and what comes of
//! the answer. Memory and clock only; whoever runs the connection sends AUTH in the order of its stream.

use std::time::Duration;

use lamplighter_core::identity::{Token, TokenChanges, TokenSource};
use tokio::time::Instant;

use super::login::Credentials;
use crate::backoff::fraction;

/// How long before its end a token must have been replaced (Microsoft: at least three minutes).
const REAUTH_BEFORE: Duration = Duration::from_secs(180);

/// The most by which the showing of a new token is put off, so that connections do not do it all at once.
const REAUTH_SPREAD: Duration = Duration::from_secs(30);

/// When a token is due again that could not be shown, because the client of the connection had subscribed.
const AGAIN: Duration = Duration::from_secs(5);

/// The tokens that one connection is shown.
#[derive(Debug)]
pub(crate) struct Renewal {
    user: Option<String>,
    tokens: TokenSource,
    changes: TokenChanges,
    shown: Token,
    next: Option<Next>,
}

/// A token that waits for its time.
#[derive(Debug)]
struct Next {
    token: Token,
    at: Instant,
}

impl Renewal {
    /// For a connection that was made with `shown`; none for one that was made without a token.
    pub(crate) fn of(credentials: &Credentials, shown: Option<Token>) -> Option<Self> {
        let (Credentials::Identity { user, tokens }, Some(shown)) = (credentials, shown) else {
            return None;
        };
        Some(Self {
            user: user.clone(),
            changes: tokens.changes_after(&shown),
            tokens: tokens.clone(),
            shown,
            next: None,
        })
    }

    /// Resolves with the token that is to be shown now; see [`Self::answered`]. Never, if no more will come. Safe to cancel.
    pub(crate) async fn due(&mut self) -> Token {
        loop {
            if let Some(next) = &self.next {
                tokio::time::sleep_until(next.at).await;
                return next.token.clone();
            }
            let Some(token) = self.changes.next().await else {
                return std::future::pending().await;
            };
            let at = Instant::now() + put_off(self.shown.remaining());
            self.next = Some(Next { token, at });
        }
    }

    /// As whom `token` is shown.
    pub(crate) fn user<'a>(&'a self, token: &'a Token) -> &'a str {
        let named = self.user.as_deref().or_else(|| token.object_id());
        named.unwrap_or_default()
    }

    /// The token that was due could not be shown, or was not answered.
    pub(crate) fn postpone(&mut self) {
        if let Some(next) = &mut self.next {
            next.at = Instant::now() + AGAIN;
        }
    }

    /// The server has `accepted` the token that was due, or refused it.
    pub(crate) fn answered(&mut self, accepted: bool) {
        let Some(Next { token, .. }) = self.next.take() else {
            return;
        };
        if accepted {
            self.shown = token;
        } else {
            // the old one is good until it ends; another is asked for
            self.tokens.reject(&token);
            tracing::warn!("Redis refused a new token; the connection goes on with the old one");
        }
    }
}

/// How long the showing of a new token is put off when the old one is valid for `remaining`.
fn put_off(remaining: Duration) -> Duration {
    let room = remaining.saturating_sub(REAUTH_BEFORE) / 2;
    room.min(REAUTH_SPREAD).mul_f64(fraction())
}

#[cfg(test)]
mod tests {
    use lamplighter_core::identity::{Resource, TokenPublisher};
    use lamplighter_core::secret::Secret;

    use super::*;

    /// As Azure's are at the shortest.
    const LIFE: Duration = Duration::from_secs(3600);

    fn publish(publisher: &mut TokenPublisher, word: &str) {
        let secret = Secret::new(word.as_bytes().to_vec());
        publisher.publish(secret, Instant::now() + LIFE, Some("oid".to_owned()));
    }

    fn renewal(tokens: &TokenSource) -> Renewal {
        let credentials = Credentials::Identity {
            user: None,
            tokens: tokens.clone(),
        };
        Renewal::of(&credentials, tokens.current()).expect("a token")
    }

    #[test]
    fn a_new_token_is_shown_three_minutes_before_the_old_one_ends() {
        for seconds in [0, 60, 181, 240, 3600, 86_400] {
            let remaining = Duration::from_secs(seconds);
            let off = put_off(remaining);
            assert!(off <= REAUTH_SPREAD);
            assert!(
                seconds <= 180 || remaining - off >= REAUTH_BEFORE,
                "{seconds}: {off:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_new_token_is_due_once_however_often_the_wait_is_cut_short() {
        let (mut publisher, tokens) = TokenPublisher::new(Resource::Redis);
        publish(&mut publisher, "first");
        let mut renewal = renewal(&tokens);
        let early = tokio::time::timeout(LIFE / 2, renewal.due()).await;
        assert!(early.is_err(), "the first was shown already");
        publish(&mut publisher, "second");
        let second = loop {
            let tick = Duration::from_millis(100);
            if let Ok(token) = tokio::time::timeout(tick, renewal.due()).await {
                break token;
            }
        };
        assert!(second.is_same(&tokens.current().expect("a token")));
        assert_eq!(renewal.user(&second), "oid");
        assert!(renewal.shown.remaining() >= REAUTH_BEFORE);
        renewal.postpone();
        assert!(renewal.due().await.is_same(&second), "later");
        renewal.answered(true);
        assert!(renewal.shown.is_same(&second));
        let again = tokio::time::timeout(LIFE / 4, renewal.due()).await;
        assert!(again.is_err(), "once");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_came_while_the_connection_was_made_is_due_and_a_refused_one_is_reported()
    {
        let (mut publisher, tokens) = TokenPublisher::new(Resource::Redis);
        publish(&mut publisher, "first");
        let first = tokens.current();
        publish(&mut publisher, "second");
        let credentials = Credentials::Identity {
            user: Some("named".to_owned()),
            tokens: tokens.clone(),
        };
        let mut renewal = Renewal::of(&credentials, first.clone()).expect("a token");
        let second = renewal.due().await;
        assert_eq!(renewal.user(&second), "named");
        renewal.answered(false);
        assert!(publisher.is_rejected());
        assert!(renewal.shown.is_same(&first.expect("a token")), "goes on");
        publish(&mut publisher, "third");
        assert!(!renewal.due().await.is_same(&second));
    }
}
