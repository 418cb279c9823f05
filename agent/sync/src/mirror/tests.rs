//! Decisions as a table, conflicts, faults, and two instances that must arrive at the same files in any order.

mod converge;
mod watched;

use super::decide::{Act, Here};
use super::*;
use crate::config::{Conflict, DeletePolicy, Direction};
use crate::plan::Guard;
use crate::rig::{Rig, files};
use crate::store::fake::{Fault, md5_of};
use crate::store::{ETag, Md5, StoreError, Sum};

fn rig(change: impl FnOnce(&mut Config)) -> Rig {
    Rig::with(|config| {
        config.direction = Direction::Both;
        config.debounce = lamplighter_core::units::Millis::new(0);
        config.max_delete_percent = lamplighter_core::units::Percent::new(100.0);
        change(config);
    })
}

fn mirror(rig: &Rig, instance: &str) -> Mirror {
    Mirror::new(&rig.engine.config, instance, rig.dir.path())
}

fn write(rig: &Rig, name: &str, content: &str) {
    let path = rig.path(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    // as an upload does: a new file takes the name
    let aside = rig.dir.path().join("aside");
    std::fs::write(&aside, content).unwrap();
    std::fs::rename(aside, path).unwrap();
}

fn blobs(rig: &Rig) -> std::collections::BTreeMap<String, String> {
    rig.fake
        .all()
        .into_iter()
        .map(|(name, content)| (name, String::from_utf8(content).unwrap()))
        .collect()
}

async fn complete(rig: &Rig, mirror: &mut Mirror) {
    let report = mirror.pass(&rig.engine).await;
    assert!(report.is_complete() && report.held.is_none(), "{report:?}");
}

fn agreed(version: &str, content: &str) -> FileRecord {
    FileRecord {
        size: content.len() as u64,
        etag: ETag::new(version),
        sum: Sum::Md5(md5_of(content.as_bytes())),
        fingerprint: crate::index::Fingerprint {
            mtime_ns: 0,
            ctime_ns: 0,
            inode: 0,
        },
    }
}

fn here(content: &str) -> Here {
    Here {
        size: content.len() as u64,
        md5: md5_of(content.as_bytes()),
    }
}

fn there(version: &str, content: &str) -> There {
    There {
        size: content.len() as u64,
        etag: ETag::new(version),
        md5: Some(md5_of(content.as_bytes())),
        own: false,
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row is one case")]
fn every_combination_of_agreed_here_and_there_has_its_decision() {
    let (push, both) = (false, true);
    let put = |version: Option<&str>| Act::Put(version.map(ETag::new));
    let a = || Some(agreed("1", "a"));
    let (h, t) = (
        |content: &str| Some(here(content)),
        |version: &str, content: &str| Some(there(version, content)),
    );
    for (case, mode, agreed, here, there, expected) in [
        ("all the same", both, a(), h("a"), t("1", "a"), Act::Nothing),
        ("new here", both, None, h("a"), None, put(None)),
        ("new there", both, None, None, t("1", "a"), Act::Get),
        (
            "new there, push only",
            push,
            None,
            None,
            t("1", "a"),
            Act::Nothing,
        ),
        (
            "written here",
            both,
            a(),
            h("b"),
            t("1", "a"),
            put(Some("1")),
        ),
        ("written there", both, a(), h("a"), t("2", "b"), Act::Get),
        (
            "written there, push only",
            push,
            a(),
            h("a"),
            t("2", "b"),
            Act::Nothing,
        ),
        ("deleted here", both, a(), None, t("1", "a"), Act::Get),
        (
            "deleted here, push only",
            push,
            a(),
            None,
            t("1", "a"),
            Act::Nothing,
        ),
        ("deleted there", both, a(), h("a"), None, Act::DeleteHere),
        (
            "deleted there, push only",
            push,
            a(),
            h("a"),
            None,
            put(None),
        ),
        ("deleted on both sides", both, a(), None, None, Act::Forget),
        (
            "written here, deleted there",
            both,
            a(),
            h("b"),
            None,
            put(None),
        ),
        (
            "deleted here, written there",
            both,
            a(),
            None,
            t("2", "b"),
            Act::Get,
        ),
        (
            "the same on both sides",
            both,
            None,
            h("a"),
            t("7", "a"),
            Act::Adopt(there("7", "a")),
        ),
        (
            "written alike on both sides",
            both,
            a(),
            h("b"),
            t("2", "b"),
            Act::Adopt(there("2", "b")),
        ),
        (
            "written differently",
            both,
            a(),
            h("b"),
            t("2", "c"),
            Act::KeepBoth,
        ),
        (
            "new on both sides, differently",
            both,
            None,
            h("b"),
            t("2", "c"),
            Act::KeepBoth,
        ),
    ] {
        let policy = Policy {
            both: mode,
            conflict: Conflict::KeepBoth,
            push_deletes: false,
            delete: DeletePolicy::Managed,
        };
        assert_eq!(
            policy.decide(agreed.as_ref(), here, there),
            expected,
            "{case}"
        );
    }
    let policy = |conflict, both| Policy {
        both,
        conflict,
        push_deletes: true,
        delete: DeletePolicy::Never,
    };
    let met = |policy: Policy| policy.decide(a().as_ref(), h("b"), t("2", "c"));
    assert_eq!(met(policy(Conflict::LocalWins, both)), put(Some("2")));
    assert_eq!(met(policy(Conflict::RemoteWins, both)), Act::Get);
    assert_eq!(
        met(policy(Conflict::RemoteWins, push)),
        Act::Yield(there("2", "c"))
    );
    let policy = policy(Conflict::KeepBoth, both);
    assert_eq!(
        policy.decide(a().as_ref(), None, t("1", "a")),
        Act::DeleteThere(ETag::new("1"))
    );
    // what must not be deleted here is sent again
    assert_eq!(policy.decide(a().as_ref(), h("a"), None), put(None));
    // our own earlier version, whose record was lost in a crash, is no conflict
    let own = There {
        own: true,
        ..there("2", "c")
    };
    assert_eq!(
        policy.decide(a().as_ref(), h("b"), Some(own)),
        put(Some("2"))
    );
}

#[test]
fn the_name_of_a_conflict_keeps_folder_and_extension() {
    let md5 = Md5([0xab; 16]);
    for (name, expected) in [
        ("a/b.jpg", "a/b.conflict-abababab.jpg"),
        ("b", "b.conflict-abababab"),
        (".htaccess", ".htaccess.conflict-abababab"),
        ("x/y.tar.gz", "x/y.tar.conflict-abababab.gz"),
    ] {
        assert_eq!(decide::conflict_name(name, md5), expected);
    }
}

#[tokio::test]
async fn what_is_written_on_either_side_arrives_on_the_other() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    write(&rig, "up/here.jpg", "1");
    rig.fake.put("up/there.jpg", "2");
    complete(&rig, &mut mirror).await;
    let all = files([("up/here.jpg", "1"), ("up/there.jpg", "2")]);
    assert_eq!((rig.tree(), blobs(&rig)), (all.clone(), all));
    // our own upload does not come back as a change, nor is anything sent twice, also after a restart
    rig.fake.take_log();
    complete(&rig, &mut mirror).await;
    complete(&rig, &mut self::mirror(&rig, "vm0")).await;
    assert_eq!(rig.fake.take_log(), ["list  ", "list  "]);
    write(&rig, "up/there.jpg", "3");
    rig.fake.delete("up/here.jpg");
    complete(&rig, &mut mirror).await;
    let all = files([("up/there.jpg", "3")]);
    assert_eq!((rig.tree(), blobs(&rig)), (all.clone(), all));
}

#[tokio::test]
async fn deletes_here_are_sent_only_if_asked_for_and_an_emptied_directory_never() {
    let rig = rig(|_| {});
    let mut first = mirror(&rig, "vm0");
    write(&rig, "a", "1");
    complete(&rig, &mut first).await;
    std::fs::remove_file(rig.path("a")).unwrap();
    complete(&rig, &mut first).await;
    assert_eq!(rig.tree(), files([("a", "1")]), "it comes back");

    let rig = self::rig(|config| config.push_deletes = true);
    let mut second = mirror(&rig, "vm0");
    for name in ["a", "b"] {
        write(&rig, name, "1");
    }
    complete(&rig, &mut second).await;
    std::fs::remove_file(rig.path("a")).unwrap();
    complete(&rig, &mut second).await;
    assert_eq!(blobs(&rig), files([("b", "1")]));
    // a directory that is empty is more likely not mounted
    std::fs::remove_file(rig.path("b")).unwrap();
    let report = second.pass(&rig.engine).await;
    assert_eq!(report.held, Some(Guard::EmptyList));
    assert_eq!(blobs(&rig), files([("b", "1")]));
}

#[tokio::test]
async fn an_emptied_container_deletes_nothing_here() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    for name in ["a", "b", "c"] {
        rig.fake.put(name, name);
    }
    complete(&rig, &mut mirror).await;
    for name in ["a", "b", "c"] {
        rig.fake.delete(name);
    }
    let report = mirror.pass(&rig.engine).await;
    assert_eq!(report.held, Some(Guard::EmptyList));
    assert_eq!(rig.tree().len(), 3);
}

#[tokio::test]
async fn a_conflict_ends_as_the_policy_says_and_loses_nothing_by_default() {
    for (conflict, expected) in [
        (
            Conflict::KeepBoth,
            files([("f.txt", "theirs"), ("f.conflict-8af6bb12.txt", "mine")]),
        ),
        (Conflict::LocalWins, files([("f.txt", "mine")])),
        (Conflict::RemoteWins, files([("f.txt", "theirs")])),
    ] {
        let rig = rig(|config| config.conflict = conflict);
        let mut mirror = mirror(&rig, "vm0");
        write(&rig, "f.txt", "base");
        complete(&rig, &mut mirror).await;
        write(&rig, "f.txt", "mine");
        rig.fake.put("f.txt", "theirs");
        for _ in 0..2 {
            complete(&rig, &mut mirror).await;
        }
        let names = |tree: &std::collections::BTreeMap<String, String>| {
            tree.values().cloned().collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&rig.tree()), names(&expected), "{conflict:?}");
        assert_eq!(rig.tree(), blobs(&rig), "{conflict:?}");
        assert_eq!(rig.tree()["f.txt"], expected["f.txt"]);
    }
}

#[tokio::test]
async fn somebody_elses_write_between_our_look_and_ours_is_not_overwritten() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    write(&rig, "f", "mine");
    rig.fake.script("f", [Fault::Replace(b"theirs".to_vec())]);
    complete(&rig, &mut mirror).await;
    complete(&rig, &mut mirror).await;
    let contents: BTreeSet<String> = blobs(&rig).into_values().collect();
    assert_eq!(contents, ["mine".to_owned(), "theirs".to_owned()].into());
    assert_eq!(rig.tree(), blobs(&rig));
    assert!((rig.metric("conflicts_total{job=\"site\"}") - 1.0).abs() < 0.1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_recognised() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    write(&rig, "f", "mine");
    rig.fake.script("f", [Fault::Cut(0)]);
    complete(&rig, &mut mirror).await;
    assert_eq!(blobs(&rig), files([("f", "mine")]));
    assert!(rig.metric("conflicts_total{job=\"site\"}") < 0.1);
}

#[tokio::test]
async fn a_crash_between_a_write_and_its_record_is_no_conflict() {
    let rig = rig(|_| {});
    let mut before = mirror(&rig, "vm0");
    write(&rig, "f", "1");
    complete(&rig, &mut before).await;
    let index = std::fs::read(rig.index_path()).unwrap();
    write(&rig, "f", "2");
    complete(&rig, &mut before).await;
    // the record of the second write is lost, and the file is written once more
    std::fs::write(rig.index_path(), index).unwrap();
    write(&rig, "f", "3");
    complete(&rig, &mut mirror(&rig, "vm0")).await;
    assert_eq!(blobs(&rig), files([("f", "3")]));
    assert_eq!(rig.tree(), files([("f", "3")]));
}

#[tokio::test]
async fn links_are_not_followed_and_names_that_cannot_be_are_counted() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    let outside = rig.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("secret"), "x").unwrap();
    write(&rig, "ok", "1");
    std::os::unix::fs::symlink(&outside, rig.path("way-out")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", rig.path("passwd")).unwrap();
    write(&rig, "back\\slash", "x");
    let report = mirror.pass(&rig.engine).await;
    assert_eq!(report.refused[&crate::names::Refusal::Backslash], 1);
    assert_eq!(blobs(&rig), files([("ok", "1")]));
    // and a link in the way of what comes is not written through
    rig.fake.put("way-out/secret", "theirs");
    mirror.pass(&rig.engine).await;
    assert_eq!(
        std::fs::read_to_string(outside.join("secret")).unwrap(),
        "x"
    );
}

#[tokio::test]
async fn large_and_empty_files_are_sent_whole() {
    let rig = rig(|_| {});
    let mut mirror = mirror(&rig, "vm0");
    let large = "0123456789abcdef".repeat(1024 * 1024 + 1);
    write(&rig, "large", &large);
    write(&rig, "empty", "");
    complete(&rig, &mut mirror).await;
    assert_eq!(blobs(&rig), files([("empty", ""), ("large", &large)]));
}

#[tokio::test]
async fn push_only_sends_and_takes_nothing() {
    let rig = rig(|config| config.direction = Direction::Push);
    let mut mirror = mirror(&rig, "vm0");
    rig.fake.put("theirs", "1");
    rig.fake.put("f", "theirs");
    write(&rig, "f", "mine");
    write(&rig, "g", "mine too");
    complete(&rig, &mut mirror).await;
    assert_eq!(rig.tree().len(), 2);
    let blobs = blobs(&rig);
    assert_eq!(
        (blobs["f"].as_str(), blobs["g"].as_str()),
        ("theirs", "mine too")
    );
    assert!(
        blobs
            .iter()
            .any(|(name, text)| name.starts_with("f.conflict-") && text == "mine")
    );
    rig.fake.take_log();
    complete(&rig, &mut mirror).await;
    assert!(rig.fake.take_log().is_empty());
}

#[tokio::test]
async fn what_was_pulled_before_is_not_sent_and_what_was_changed_since_is() {
    let mut rig = rig(|config| config.direction = Direction::Pull);
    // nobody names their MD5, so the index has none of them
    for name in ["same", "edited"] {
        rig.fake.put_without_md5(name, "pulled");
    }
    rig.complete().await;
    rig.engine.config.direction = Direction::Both;
    rig.restart();
    write(&rig, "edited", "here");
    rig.fake.take_log();
    let mut mirror = mirror(&rig, "vm1");
    complete(&rig, &mut mirror).await;
    let log = rig.fake.take_log();
    let about = |name: &str| log.iter().filter(|line| line.contains(name)).count();
    assert_eq!((about("same"), about("edited")), (0, 1), "{log:?}");
    assert_eq!(blobs(&rig)["edited"], "here");
}
