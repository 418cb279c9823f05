//! What a publisher writes, what it does not write twice, and two at once.

use super::*;
use crate::rig::{Rig, files};
use crate::store::blocks::{BLOCK_MIN, SINGLE_MAX};
use crate::store::fake::Fault;

async fn try_publish(rig: &Rig, publication: Publication) -> Result<Published, PublishError> {
    publish_to(&rig.engine.config, rig.fake.clone(), publication, |_| {}).await
}

#[tokio::test]
async fn content_is_sent_once_and_what_is_published_already_not_at_all() {
    let rig = Rig::new();
    let tree = files([("a", "1"), ("b", "1"), ("c/d", "2"), ("e", "")]);
    let first = rig.publish("r1", &tree).await;
    assert_eq!((first.files, first.sent, first.unchanged), (4, 2, false));
    let second = rig.publish("r2", &files([("a", "1"), ("c/d", "3")])).await;
    assert_eq!(second.sent, 1);
    let third = rig.publish("r3", &files([("a", "1"), ("c/d", "3")])).await;
    assert!(third.unchanged);
    assert_eq!(third.release, "r2");
}

#[tokio::test]
async fn of_two_publishers_at_once_one_wins_and_the_other_is_told() {
    let rig = Rig::new();
    rig.publish("r0", &files([("a", "0")])).await;
    let mine = rig.publication("mine", &files([("a", "1")]));
    // theirs comes between our look at what is published and our manifest
    let mut theirs = Vec::new();
    manifest::write(&mut theirs, "theirs", None, [].iter()).unwrap();
    let faults = [Fault::HalfPage, Fault::Replace(theirs.clone())];
    rig.fake.script(".lamplighter/manifest.jsonl", faults);
    let lost = try_publish(&rig, mine).await.unwrap_err();
    assert!(
        matches!(&lost, PublishError::Raced(by) if by == "theirs"),
        "{lost}"
    );
    assert_eq!(rig.fake.all()[".lamplighter/manifest.jsonl"], theirs);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_no_race() {
    let rig = Rig::new();
    rig.fake.script(
        ".lamplighter/manifest.jsonl",
        [Fault::HalfPage, Fault::Cut(0)],
    );
    let publication = rig.publication("r1", &files([("a", "1")]));
    try_publish(&rig, publication).await.unwrap();
}

#[tokio::test]
async fn large_content_goes_in_blocks_and_comes_back() {
    let rig = Rig::new();
    let size = usize::try_from(SINGLE_MAX + BLOCK_MIN + 17).unwrap();
    let large: String = (0..size)
        .map(|at| char::from(b'a' + u8::try_from(at % 23).unwrap()))
        .collect();
    let tree = files([("large", &large), ("small", "1")]);
    rig.publish("r1", &tree).await;
    rig.puller().pass(&rig.engine).await;
    assert_eq!(rig.tree(), tree);
}

#[tokio::test]
async fn links_are_left_out_and_told_and_empty_directories_are_refused() {
    let rig = Rig::new();
    let publication = rig.publication("r1", &files([("a", "1")]));
    std::os::unix::fs::symlink("/etc/passwd", publication.dir.join("secret")).unwrap();
    let published = try_publish(&rig, publication).await.unwrap();
    assert_eq!(published.skipped, ["secret"]);
    assert_eq!(published.files, 1);
    let empty = tempfile::tempdir().unwrap();
    let publication = Publication {
        dir: empty.path().to_owned(),
        release: None,
        bundle: true,
    };
    assert!(matches!(
        try_publish(&rig, publication).await,
        Err(PublishError::Empty(_))
    ));
    let mut publication = rig.publication("r2", &files([("a", "2")]));
    publication.release = Some("../r2".to_owned());
    assert!(matches!(
        try_publish(&rig, publication).await,
        Err(PublishError::Release(_))
    ));
}

#[test]
fn a_name_that_instances_would_refuse_is_not_published() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("a\\b"), "x").unwrap();
    let error = walk(dir.path(), &Filters::default()).unwrap_err();
    assert!(error.to_string().contains("backslash"), "{error}");
}
