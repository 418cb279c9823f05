//! Who learns what, and when nobody does.

use super::*;

#[tokio::test]
async fn what_the_server_says_reaches_the_session() {
    let (awaited, owed) = pending();
    let session = OfSession::Awaited(awaited.clone());
    let mut connection = OfConnection::Owed(owed);
    assert!(connection.is_of(&session));
    assert!(connection.is_wanted_beside(None));
    assert!(!connection.is_wanted_beside(Some(&session)));
    assert_eq!(session.known(), None);
    connection.tell(7);
    assert_eq!(awaited.value().await, Some(7));
    assert_eq!(session.known(), Some(7));
    assert!(connection.is_of(&session));
    assert!(!connection.is_of(&OfSession::Known(8)));
}

#[tokio::test]
async fn a_lost_connection_takes_the_value_with_it() {
    let (awaited, owed) = pending();
    drop(OfConnection::Owed(owed));
    assert_eq!(awaited.value().await, None);
}

#[test]
fn nobody_asks_for_a_session_that_is_gone() {
    let (awaited, owed) = pending();
    let connection = OfConnection::Owed(owed);
    drop(awaited);
    assert!(!connection.is_wanted_beside(None));
    assert!(!OfConnection::Unknown.is_of(&OfSession::default()));
}
