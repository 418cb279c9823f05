//! What a token source promises, on paused time.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn publish(publisher: &mut TokenPublisher, word: &str, lifetime: Duration) {
    let secret = Secret::new(word.as_bytes().to_vec());
    publisher.publish(secret, Instant::now() + lifetime, None);
}

fn word(token: &Token) -> &str {
    token.secret().expose_str().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_served_until_it_expires_and_not_longer() {
    let (mut publisher, source) = TokenPublisher::new(Resource::Mysql);
    assert!(source.current().is_none());
    publish(&mut publisher, "one", 10 * SECOND);
    publisher.fail("the service is away");
    tokio::time::advance(9 * SECOND).await;
    assert_eq!(word(&source.current().unwrap()), "one");
    assert_eq!(source.current().unwrap().remaining(), SECOND);
    tokio::time::advance(SECOND).await;
    assert!(source.current().is_none());
    let error = source.wait(SECOND).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no token for mysql yet: the service is away"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_gets_the_first_that_comes() {
    let (mut publisher, source) = TokenPublisher::new(Resource::Redis);
    let waiting = source.wait(10 * SECOND);
    let publishing = async {
        tokio::time::sleep(3 * SECOND).await;
        publish(&mut publisher, "one", 60 * SECOND);
        publisher
    };
    let (token, mut publisher) = tokio::join!(waiting, publishing);
    let token = token.unwrap();
    assert_eq!(word(&token), "one");
    assert!(source.wait_other(&token, SECOND).await.is_err());
    publish(&mut publisher, "two", 60 * SECOND);
    let other = source.wait_other(&token, SECOND).await.unwrap();
    assert_eq!(word(&other), "two");
    drop(publisher);
    assert_eq!(word(&source.current().unwrap()), "two", "served on");
    assert!(matches!(
        source.wait_other(&other, SECOND).await,
        Err(TokenError::Closed { resource: "redis" })
    ));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_rejections_of_one_token_are_one_request_for_another() {
    let (mut publisher, source) = TokenPublisher::new(Resource::Storage);
    publish(&mut publisher, "one", 60 * SECOND);
    assert!(!publisher.is_rejected());
    let first = source.current().unwrap();
    for _ in 0..1000 {
        source.clone().reject(&first);
    }
    tokio::time::timeout(SECOND, publisher.rejected())
        .await
        .unwrap();
    assert_eq!(word(&source.current().unwrap()), "one", "served on");
    publish(&mut publisher, "two", 60 * SECOND);
    // one who is late must not cost a second refresh
    source.reject(&first);
    assert!(!publisher.is_rejected());
    let never = tokio::time::timeout(SECOND, publisher.rejected()).await;
    assert!(never.is_err());
    source.reject(&source.current().unwrap());
    assert!(publisher.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn changes_are_new_tokens_and_no_failures() {
    let (mut publisher, source) = TokenPublisher::new(Resource::Redis);
    publish(&mut publisher, "one", 60 * SECOND);
    let first = source.current().unwrap();
    let mut changes = source.changes_after(&first);
    publisher.fail("away");
    assert!(tokio::time::timeout(SECOND, changes.next()).await.is_err());
    publish(&mut publisher, "two", 60 * SECOND);
    assert_eq!(word(&changes.next().await.unwrap()), "two");
    // whoever was shown the first while the second came has missed nothing
    let mut late = source.changes_after(&first);
    assert_eq!(word(&late.next().await.unwrap()), "two");
    drop(publisher);
    assert!(changes.next().await.is_none());
}

#[test]
fn a_token_cannot_be_printed() {
    let (mut publisher, source) = TokenPublisher::new(Resource::Redis);
    publish(&mut publisher, "hunter2", 60 * SECOND);
    let shown = format!("{:?} {source:?} {publisher:?}", source.current());
    assert!(!shown.contains("hunter2"), "{shown}");
}
