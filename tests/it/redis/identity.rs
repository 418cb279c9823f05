//! Tokens of the machine's identity on open connections.

use std::time::Duration;

use lamplighter_core::identity::{Resource, TokenPublisher, TokenSource};
use lamplighter_core::secret::Secret;
use tokio::time::Instant;

use super::Endpoint;
use crate::cache::SOON;
use crate::support::poll;
use crate::support::redis::Server;

/// Where tokens of the identity `oid` come from. Each is soon over, so that a new one is shown at once.
pub(super) struct Issuer(TokenPublisher);

impl Issuer {
    /// The first token has been issued.
    pub(super) fn start(token: &str) -> (Self, TokenSource) {
        let (publisher, source) = TokenPublisher::new(Resource::Redis);
        let mut issuer = Self(publisher);
        issuer.issue(token);
        (issuer, source)
    }

    pub(super) fn issue(&mut self, token: &str) {
        let secret = Secret::new(token.as_bytes().to_vec());
        let until = Instant::now() + Duration::from_secs(170);
        self.0.publish(secret, until, Some("oid".to_owned()));
    }
}

/// Waits until so many connections have shown a new token, which was `accepted` or `refused`.
pub(super) fn wait_shown(endpoint: &Endpoint, outcome: &str, connections: f64) {
    let series = format!("endpoint_reauth_total{{outcome=\"{outcome}\"}}");
    poll::until(SOON, "every connection to have shown it", || {
        endpoint.metric(&series) >= connections
    });
}

#[test]
fn a_new_token_is_shown_on_open_connections_and_a_refused_one_costs_nothing() {
    let redis = Server::builder()
        .tls()
        .config("user oid on >first ~* &* +@all\nuser default on nopass ~* &* +@all")
        .start();
    let (mut issuer, source) = Issuer::start("first");
    let endpoint = Endpoint::with_tokens(&redis.url(), &redis.ca_path(), "", source);
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    // whoever only listens is not told of it
    let mut listener = endpoint.client();
    listener.expect(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1",
    );
    redis.cli(&["ACL", "SETUSER", "oid", ">second"]);
    issuer.issue("second");
    wait_shown(&endpoint, "accepted", 3.0);
    let connects = endpoint.metric("upstream_connects_total");
    client.expect("GET k", "$1\r\nv");
    // one that the server does not know: the connections go on, and another is asked for
    issuer.issue("wrong");
    wait_shown(&endpoint, "refused", 3.0);
    client.expect("GET k", "$1\r\nv");
    assert_eq!(endpoint.metric("upstream_connects_total"), connects);
    redis.cli(&["PUBLISH", "news", "hello"]);
    assert_eq!(
        listener.reply(),
        "*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n"
    );
    let users = redis.cli(&["CLIENT", "LIST"]);
    assert!(
        users
            .lines()
            .filter(|line| line.contains("user=oid"))
            .count()
            >= 3,
        "{users}"
    );
}
