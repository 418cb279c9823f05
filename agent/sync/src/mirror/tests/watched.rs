//! What inotify tells: files as they come, directories and what was in them before they were watched, and nothing of our own.

use std::time::Duration;

use super::*;

/// Waits until the container is as wanted, pushing whenever something stirs.
async fn until(rig: &Rig, mirror: &mut Mirror, wanted: &[(&str, &str)]) {
    let work = async {
        loop {
            let now = blobs(rig);
            if wanted
                .iter()
                .all(|(name, content)| now.get(*name).is_some_and(|there| there == content))
            {
                return;
            }
            mirror.stirred().await;
            let mut report = Report::with(Outcome::Done);
            if mirror.push(&rig.engine, false, &mut report).await.unwrap() {
                mirror.pass(&rig.engine).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), work)
        .await
        .unwrap_or_else(|_| panic!("{:?} is not {wanted:?}", blobs(rig)));
}

#[tokio::test]
async fn a_file_is_sent_when_it_is_written_without_a_list() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    complete(&rig, &mut mirror).await;
    rig.fake.take_log();
    write(&rig, "a.jpg", "1");
    until(&rig, &mut mirror, &[("a.jpg", "1")]).await;
    assert_eq!(rig.fake.take_log(), ["put a.jpg"]);
    // again and again, and by another name
    write(&rig, "a.jpg", "2");
    std::fs::rename(rig.path("a.jpg"), rig.path("b.jpg")).unwrap();
    until(&rig, &mut mirror, &[("b.jpg", "2")]).await;
}

#[tokio::test]
async fn directories_that_come_are_watched_and_what_they_held_is_sent() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    complete(&rig, &mut mirror).await;
    // made elsewhere and moved in: no event names these files
    let aside = rig.dir.path().join("made");
    std::fs::create_dir_all(aside.join("x/y")).unwrap();
    std::fs::write(aside.join("x/y/deep"), "1").unwrap();
    std::fs::rename(&aside, rig.path("moved")).unwrap();
    write(&rig, "new/f", "2");
    until(
        &rig,
        &mut mirror,
        &[("moved/x/y/deep", "1"), ("new/f", "2")],
    )
    .await;
    write(&rig, "moved/x/y/later", "3");
    until(&rig, &mut mirror, &[("moved/x/y/later", "3")]).await;
}

#[tokio::test]
async fn what_comes_from_the_container_is_not_sent_back() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    complete(&rig, &mut mirror).await;
    rig.fake.put("theirs", "1");
    complete(&rig, &mut mirror).await;
    rig.fake.take_log();
    let mut report = Report::with(Outcome::Done);
    mirror.push(&rig.engine, true, &mut report).await.unwrap();
    assert!(rig.fake.take_log().is_empty());
}

#[tokio::test]
async fn a_file_that_is_still_written_is_left_alone_and_flushed_when_leaving() {
    let rig = rig(|config| config.debounce = lamplighter_core::units::Millis::from_secs(3600));
    let mut mirror = mirror(&rig, "vm0");
    complete(&rig, &mut mirror).await;
    write(&rig, "f", "half");
    mirror.stirred().await;
    let mut report = Report::with(Outcome::Done);
    mirror.push(&rig.engine, false, &mut report).await.unwrap();
    complete(&rig, &mut mirror).await;
    assert!(blobs(&rig).is_empty());
    write(&rig, "f", "whole");
    mirror.push(&rig.engine, true, &mut report).await.unwrap();
    assert_eq!(blobs(&rig), files([("f", "whole")]));
}

#[tokio::test]
async fn events_that_were_lost_are_made_up_for() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    complete(&rig, &mut mirror).await;
    // more than the kernel keeps (fs.inotify.max_queued_events)
    let limit: usize = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events")
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    let (one, two) = (rig.path("x"), rig.path("y"));
    std::fs::write(&one, "1").unwrap();
    for _ in 0..limit / 4 + 10 {
        std::fs::rename(&one, &two).unwrap();
        std::fs::rename(&two, &one).unwrap();
    }
    std::fs::write(rig.path("last"), "2").unwrap();
    until(&rig, &mut mirror, &[("x", "1"), ("last", "2")]).await;
}
