//! Who can be killed, and how a KILL is read.

use super::*;

#[test]
fn kill_is_read() {
    for (text, expected) in [
        ("KILL 5", Some((What::Connection, 5))),
        ("kill connection 5;", Some((What::Connection, 5))),
        (
            " KILL  QUERY\t2147483649 ; ",
            Some((What::Query, 2_147_483_649)),
        ),
        ("KILL QUERY", None),
        ("KILL @id", None),
        ("KILL 5 6", None),
        ("KILL CONNECTION_ID()", None),
        ("SELECT 5", None),
    ] {
        assert_eq!(parse(text.as_bytes()), expected, "{text}");
    }
}

#[tokio::test]
async fn only_clients_of_the_same_user_are_killed() {
    let clients = Clients::default();
    let registered = clients.register(7, Bytes::from_static(b"web"));
    let kill = |id, user: &'static [u8]| clients.kill(What::Connection, id, user);
    assert!(matches!(kill(8, b"web").await, Killed::Unknown));
    assert!(matches!(kill(7, b"other").await, Killed::Denied));
    assert!(!registered.client.is_ended.load(Ordering::Relaxed));
    assert!(matches!(kill(7, b"web").await, Killed::Done));
    registered.client.ended().await;
    drop(registered);
    assert!(matches!(kill(7, b"web").await, Killed::Unknown));
}

#[tokio::test]
async fn killing_a_statement_of_an_idle_client_does_nothing() {
    let clients = Clients::default();
    let registered = clients.register(7, Bytes::from_static(b"web"));
    let killed = clients.kill(What::Query, 7, b"web").await;
    assert!(matches!(killed, Killed::Done));
    assert!(!registered.client.is_ended.load(Ordering::Relaxed));
    assert!(!registered.client.ends().await);
}
