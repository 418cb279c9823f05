//! Tokens of the machine's identity on open connections.

use std::time::Duration;

use lamplighter_core::identity::{Resource, TokenPublisher};
use lamplighter_core::secret::Secret;
use tokio::time::Instant;

use super::Endpoint;
use crate::cache::SOON;
use crate::support::poll;
use crate::support::redis::Server;

#[test]
fn a_new_token_is_shown_on_open_connections_and_a_refused_one_costs_nothing() {
    let redis = Server::builder()
        .tls()
        .config("user oid on >first ~* &* +@all\nuser default on nopass ~* &* +@all")
        .start();
    let (mut publisher, source) = TokenPublisher::new(Resource::Redis);
    // soon over, so that a new one is shown at once
    let life = Duration::from_secs(170);
    let publish = |publisher: &mut TokenPublisher, text: &str| {
        let secret = Secret::new(text.as_bytes().to_vec());
        publisher.publish(secret, Instant::now() + life, Some("oid".to_owned()));
    };
    publish(&mut publisher, "first");
    let endpoint = Endpoint::with_tokens(&redis, source);
    let mut client = endpoint.client();
    client.expect("SET k v", "+OK");
    // whoever only listens is not told of it
    let mut listener = endpoint.client();
    listener.expect(
        "SUBSCRIBE news",
        "*3\r\n$9\r\nsubscribe\r\n$4\r\nnews\r\n:1",
    );
    let reauth =
        |outcome: &str| endpoint.metric(&format!("endpoint_reauth_total{{outcome=\"{outcome}\"}}"));
    redis.cli(&["ACL", "SETUSER", "oid", ">second"]);
    publish(&mut publisher, "second");
    poll::until(SOON, "every connection to have shown it", || {
        reauth("accepted") >= 3.0
    });
    let connects = endpoint.metric("upstream_connects_total");
    client.expect("GET k", "$1\r\nv");
    // one that the server does not know: the connections go on, and another is asked for
    publish(&mut publisher, "wrong");
    poll::until(SOON, "it to be refused", || reauth("refused") >= 3.0);
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
