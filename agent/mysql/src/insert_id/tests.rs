//! Who learns what, and when nobody does.

use super::*;

#[tokio::test]
async fn what_the_server_says_reaches_the_session() {
    let (awaited, owed) = pending(None);
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
    let (awaited, owed) = pending(None);
    drop(OfConnection::Owed(owed));
    assert_eq!(awaited.value().await, None);
}

#[test]
fn nobody_asks_for_a_session_that_is_gone() {
    let (awaited, owed) = pending(None);
    let connection = OfConnection::Owed(owed);
    drop(awaited);
    assert!(!connection.is_wanted_beside(None));
    assert!(!OfConnection::Unknown.is_of(&OfSession::default()));
}

#[tokio::test]
async fn a_number_that_the_client_gave_itself_changes_nothing() {
    let session = OfSession::Known(3);
    let of_another = OfConnection::Known(900);
    let told = |there: There, number| there.after(Change::Told(number), &of_another, &session);
    for (says, is) in [(12, Some(12)), (900, Some(3)), (500, Some(500))] {
        let there = told(told(There::No, 12), 500);
        let mut connection = OfConnection::Unknown;
        let Some(OfSession::Awaited(awaited)) = there.leave(&mut connection) else {
            panic!("it is left behind");
        };
        assert!(connection.is_uncertain());
        connection.tell(says);
        assert_eq!(awaited.value().await, is, "the server says {says}");
    }
    // one after the other, each on a connection of its own, and nobody has asked for the first
    let mut first = OfConnection::Unknown;
    let session = told(There::No, 7).leave(&mut first).expect("left behind");
    let there = There::No.after(Change::Told(8), &of_another, &session);
    let mut second = OfConnection::Unknown;
    let Some(OfSession::Awaited(awaited)) = there.leave(&mut second) else {
        panic!("it is left behind");
    };
    second.tell(900);
    assert_eq!(awaited.value().await, None, "not guessed");
}

#[test]
fn on_a_connection_that_knows_what_is_told_is_certain() {
    let session = OfSession::Known(3);
    let after = |connection: &OfConnection| There::No.after(Change::Told(9), connection, &session);
    assert_eq!(after(&OfConnection::Known(3)), There::Certain);
    assert_ne!(after(&OfConnection::Known(4)), There::Certain);
    assert_ne!(after(&OfConnection::Unknown), There::Certain);
    let certain = There::No.after(Change::Certain, &OfConnection::Unknown, &session);
    assert_eq!(certain, There::Certain);
}
