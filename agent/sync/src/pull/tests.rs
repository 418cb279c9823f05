//! Releases and manifests against a scripted storage: what is asked for, what is served meanwhile, what stays.

use std::collections::BTreeMap;

use super::*;
use crate::names::Refusal;
use crate::plan::Guard;
use crate::rig::{Rig, files};
use crate::store::StoreError;
use crate::store::fake::{Fault, LIST};

fn release_rig() -> Rig {
    Rig::with(|config| config.mode = Mode::Release)
}

/// What the link serves.
fn live(rig: &Rig) -> BTreeMap<String, String> {
    tree_below(&rig.path("current/"))
}

fn tree_below(root: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let name = path.strip_prefix(root).unwrap().display().to_string();
            found.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
    found
}

fn on_disk(rig: &Rig) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(rig.path("releases"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn inode(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).unwrap().ino()
}

async fn pass(rig: &Rig, puller: &mut Puller) -> (Report, Vec<String>) {
    rig.fake.take_log();
    let report = puller.pass(&rig.engine).await;
    (report, rig.fake.take_log())
}

async fn complete(rig: &Rig, puller: &mut Puller) -> Vec<String> {
    let (report, log) = pass(rig, puller).await;
    assert!(report.is_complete() && report.held.is_none(), "{report:?}");
    log
}

#[tokio::test]
async fn who_has_nothing_takes_the_manifest_and_one_bundle() {
    let rig = release_rig();
    let tree = files([
        ("a/b.php", "1"),
        ("a/c.php", "two"),
        ("empty", ""),
        ("z", "3"),
    ]);
    rig.publish("r1", &tree).await;
    let mut puller = rig.puller();
    let log = complete(&rig, &mut puller).await;
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(log[0].starts_with("read .lamplighter/manifest"), "{log:?}");
    assert!(log[1].starts_with("get .lamplighter/bundles/"), "{log:?}");
    assert_eq!(live(&rig), tree);
    assert_eq!(on_disk(&rig), ["r1"]);
    // from then on one conditional request, also after a restart
    let one = ["read .lamplighter/manifest.jsonl"];
    assert_eq!(complete(&rig, &mut puller).await, one);
    assert_eq!(complete(&rig, &mut rig.puller()).await, one);
}

#[tokio::test]
async fn who_is_behind_takes_only_what_changed_and_links_the_rest() {
    let rig = release_rig();
    rig.publish("r1", &files([("same", "1"), ("other", "1"), ("gone", "1")]))
        .await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    let tree = files([("same", "1"), ("other", "2"), ("new", "3")]);
    rig.publish("r2", &tree).await;
    let log = complete(&rig, &mut puller).await;
    assert_eq!(log.len(), 3, "{log:?}");
    assert!(
        log[1..]
            .iter()
            .all(|line| line.starts_with("get .lamplighter/files/"))
    );
    assert_eq!(live(&rig), tree);
    assert_eq!(
        inode(&rig.path("releases/r1/same")),
        inode(&rig.path("releases/r2/same"))
    );
    // the one before is as it was
    let before = tree_below(&rig.path("releases/r1/"));
    assert_eq!(
        before,
        files([("same", "1"), ("other", "1"), ("gone", "1")])
    );
    assert!((rig.metric("objects_total{job=\"site\",op=\"link\"}") - 3.0).abs() < 0.1);
}

#[tokio::test]
async fn nothing_is_switched_before_all_of_it_is_there() {
    let rig = release_rig();
    let old = files([("a", "1"), ("b", "1")]);
    rig.publish("r1", &old).await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    rig.publish("r2", &files([("a", "2"), ("b", "2")])).await;
    let sum = |text: &str| Sha256Sum(text).blob();
    rig.fake
        .script(&sum("2"), vec![Fault::Error(|| StoreError::NotFound); 2]);
    let (report, _) = pass(&rig, &mut puller).await;
    assert!(!report.is_complete());
    assert_eq!(live(&rig), old);
    rig.fake.heal();
    // a restart in between goes on with what is there
    complete(&rig, &mut rig.puller()).await;
    assert_eq!(live(&rig), files([("a", "2"), ("b", "2")]));
    assert_eq!(on_disk(&rig), ["r1", "r2"]);
}

struct Sha256Sum<'a>(&'a str);

impl Sha256Sum<'_> {
    fn blob(&self) -> String {
        let sum = crate::store::Sha256(Hasher::digest(self.0).into());
        crate::manifest::content_blob("", sum)
    }
}

#[tokio::test]
async fn a_file_tampered_with_in_the_live_release_is_not_linked_on() {
    let rig = release_rig();
    rig.publish("r1", &files([("a", "right"), ("b", "1")]))
        .await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    // in place, same size, same time: only its content tells
    let path = rig.path("releases/r1/a");
    let time = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, "wrong").unwrap();
    std::fs::File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(time)
        .unwrap();
    rig.publish("r2", &files([("a", "right"), ("b", "2")]))
        .await;
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("a", "right"), ("b", "2")]));
}

#[tokio::test]
async fn a_live_release_is_repaired_from_what_it_was_made_of() {
    let rig = release_rig();
    let tree = files([("a", "1"), ("b", "2")]);
    rig.publish("r1", &tree).await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    std::fs::write(rig.path("current/a"), "edited").unwrap();
    std::fs::remove_file(rig.path("current/b")).unwrap();
    // a start looks at every file
    complete(&rig, &mut rig.puller()).await;
    assert_eq!(live(&rig), tree);
}

#[tokio::test]
async fn as_many_releases_stay_as_are_kept_and_rollback_sticks_until_the_next() {
    let rig = Rig::with(|config| {
        config.mode = Mode::Release;
        config.keep_releases = 2;
        config.release_grace = lamplighter_core::units::Millis::new(0);
        config.max_delete_percent = lamplighter_core::units::Percent::new(100.0);
    });
    let mut puller = rig.puller();
    for release in ["r1", "r2", "r3"] {
        rig.publish(release, &files([("version", release)])).await;
        complete(&rig, &mut puller).await;
    }
    assert_eq!(on_disk(&rig), ["r2", "r3"]);
    assert_eq!(puller.roll_back(None).await.unwrap(), "r2");
    assert_eq!(live(&rig)["version"], "r2");
    // what is published is what was rolled back from: it stays away, and it is said
    let (report, _) = pass(&rig, &mut puller).await;
    assert_eq!(report.rolled_back.as_deref(), Some("r3"));
    let (report, _) = pass(&rig, &mut rig.puller()).await;
    assert_eq!(report.rolled_back.as_deref(), Some("r3"));
    assert_eq!(live(&rig)["version"], "r2");
    rig.publish("r4", &files([("version", "r4")])).await;
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig)["version"], "r4");
    let error = puller.roll_back(Some("r1".to_owned())).await.unwrap_err();
    assert!(error.contains("no release \"r1\""), "{error}");
    assert_eq!(puller.roll_back(Some("r2".to_owned())).await.unwrap(), "r2");
}

#[tokio::test]
async fn guards_hold_a_release_back_and_the_old_one_serves() {
    let rig = Rig::with(|config| {
        config.mode = Mode::Release;
        config.max_delete = 3;
    });
    let many: BTreeMap<_, _> = (0..10).map(|n| (format!("f{n}"), "x".to_owned())).collect();
    rig.publish("r1", &many).await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    rig.publish("r2", &files([("f0", "x")])).await;
    let (report, _) = pass(&rig, &mut puller).await;
    assert_eq!(report.held, Some(Guard::MaxDelete));
    assert_eq!(report.census.deletes, 9);
    assert_eq!(live(&rig), many);
    // an operator who knows better raises the bound
    let mut rig = rig;
    rig.engine.config.max_delete = 1000;
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("f0", "x")]));
}

#[tokio::test]
async fn without_a_manifest_the_list_names_the_release() {
    let rig = release_rig();
    rig.fake.put("a", "1");
    rig.fake.put("b/c", "1");
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("a", "1"), ("b/c", "1")]));
    let first = on_disk(&rig);
    assert_eq!(complete(&rig, &mut puller).await, ["list  "]);
    rig.fake.put("a", "2");
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("a", "2"), ("b/c", "1")]));
    assert_eq!(on_disk(&rig).len(), 2);
    // an older state comes back as what it is: another state
    rig.fake.put("a", "1");
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("a", "1"), ("b/c", "1")]));
    assert!(on_disk(&rig).contains(&first[0]));
}

#[tokio::test]
async fn a_container_that_does_not_hold_still_is_not_switched_to() {
    let rig = release_rig();
    rig.fake.put("a", "1");
    rig.fake.put("b", "1");
    let mut puller = rig.puller();
    rig.fake.script("b", [Fault::Replace(b"2".to_vec())]);
    let (report, _) = pass(&rig, &mut puller).await;
    assert!(
        matches!(report.outcome, Outcome::Failed(CycleError::Moving)),
        "{report:?}"
    );
    assert!(!rig.path("current").exists());
    complete(&rig, &mut puller).await;
    assert_eq!(live(&rig), files([("a", "1"), ("b", "2")]));
}

#[tokio::test]
async fn an_empty_list_is_no_release() {
    let rig = release_rig();
    let mut puller = rig.puller();
    let (report, _) = pass(&rig, &mut puller).await;
    assert_eq!(report.held, Some(Guard::EmptyList));
    assert!(!rig.path("current").exists());
}

#[tokio::test]
async fn a_directory_in_the_place_of_the_link_is_told_and_stays() {
    let rig = release_rig();
    std::fs::create_dir_all(rig.path("current")).unwrap();
    std::fs::write(rig.path("current/theirs"), "x").unwrap();
    rig.publish("r1", &files([("a", "1")])).await;
    let (report, _) = pass(&rig, &mut rig.puller()).await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}");
    };
    assert!(
        lamplighter_core::fault::chain(error).contains("no symbolic link"),
        "{error:?}"
    );
    assert!(rig.path("current/theirs").exists());
}

#[tokio::test]
async fn a_tree_follows_a_manifest_and_an_empty_one_takes_the_bundle() {
    let rig = Rig::new();
    let tree = files([("a", "1"), ("d/b", "2")]);
    rig.publish("r1", &tree).await;
    let mut puller = rig.puller();
    let log = complete(&rig, &mut puller).await;
    assert_eq!(log.len(), 2, "{log:?}");
    assert_eq!(rig.tree(), tree);
    assert_eq!(complete(&rig, &mut puller).await.len(), 1);
    rig.publish("r2", &files([("a", "1"), ("c", "3")])).await;
    complete(&rig, &mut puller).await;
    assert_eq!(rig.tree(), files([("a", "1"), ("c", "3")]));
    // drift is found when the files are looked at again
    std::fs::write(rig.path("a"), "edited").unwrap();
    assert_eq!(complete(&rig, &mut puller).await.len(), 1);
    assert_eq!(rig.tree()["a"], "edited");
    complete(&rig, &mut rig.puller()).await;
    assert_eq!(rig.tree()["a"], "1");
}

#[tokio::test]
async fn a_bundle_that_is_wrong_costs_only_the_requests_it_would_have_saved() {
    for (faults, gets) in [
        (vec![Fault::Error(|| StoreError::NotFound)], 3),
        (vec![Fault::Damage], 3),
        (vec![Fault::Cut(20)], 0),
        (vec![Fault::Cut(20), Fault::Cut(20), Fault::Short(10)], 0),
    ] {
        let rig = Rig::new();
        let tree = files([("a", "1"), ("b", "22"), ("c", "333")]);
        rig.publish("r1", &tree).await;
        let all = rig.fake.all();
        let bundle = all.keys().find(|name| name.contains("bundles")).unwrap();
        rig.fake.script(bundle, faults.clone());
        let log = complete(&rig, &mut rig.puller()).await;
        let one_by_one = log.iter().filter(|line| line.contains("/files/")).count();
        assert_eq!((one_by_one, rig.tree()), (gets, tree), "{faults:?} {log:?}");
    }
}

#[tokio::test]
async fn a_manifest_that_goes_away_or_is_damaged_changes_nothing() {
    let rig = Rig::new();
    let tree = files([("a", "1")]);
    rig.publish("r1", &tree).await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    let blob = ".lamplighter/manifest.jsonl";
    for damage in [Some("{}"), Some("<html>"), None] {
        match damage {
            Some(text) => rig.fake.put(blob, text),
            None => rig.fake.delete(blob),
        }
        let (report, _) = pass(&rig, &mut puller).await;
        assert!(
            matches!(report.outcome, Outcome::Failed(_)),
            "{damage:?} {report:?}"
        );
        assert_eq!(rig.tree(), tree);
    }
}

#[tokio::test]
async fn a_release_that_does_not_fit_is_not_begun() {
    let rig = Rig::with(|config| {
        config.mode = Mode::Release;
        config.min_free = lamplighter_core::units::Bytes::new(u64::MAX / 2);
    });
    rig.publish("r1", &files([("a", "1")])).await;
    let (report, log) = pass(&rig, &mut rig.puller()).await;
    let Outcome::Failed(error) = &report.outcome else {
        panic!("{report:?}");
    };
    assert_eq!(error.label(), "disk_full");
    assert_eq!(
        log.len(),
        1,
        "nothing but the manifest was asked for: {log:?}"
    );
    assert!(!rig.path("releases/.building").exists());
}

#[tokio::test]
async fn names_that_cannot_be_are_refused_in_a_manifest_too() {
    let rig = Rig::new();
    let entry = |name: &str| crate::manifest::Entry {
        name: name.into(),
        size: 0,
        sha256: crate::store::Sha256(Hasher::digest(b"").into()),
        md5: crate::store::fake::md5_of(b""),
    };
    let entries = [entry("../out"), entry("a/../../x"), entry("ok")];
    let mut text = Vec::new();
    crate::manifest::write(&mut text, "r1", None, entries.iter()).unwrap();
    rig.fake.put(".lamplighter/manifest.jsonl", text);
    let (report, _) = pass(&rig, &mut rig.puller()).await;
    assert_eq!(report.refused[&Refusal::Traversal], 2);
    assert_eq!(rig.tree(), files([("ok", "")]));
}

#[tokio::test]
async fn a_list_that_breaks_off_while_it_is_summed_changes_nothing() {
    let rig = release_rig();
    rig.fake.put("a", "1");
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    rig.fake.put("b", "1");
    rig.fake.script(LIST, [Fault::HalfPage]);
    rig.fake.page_size(2);
    let (report, _) = pass(&rig, &mut puller).await;
    assert!(matches!(report.outcome, Outcome::Failed(_)), "{report:?}");
    assert_eq!(live(&rig), files([("a", "1")]));
}

#[tokio::test]
async fn verification_reads_every_byte() {
    let rig = release_rig();
    rig.publish("r1", &files([("a", "1"), ("b", "2"), ("c", "3")]))
        .await;
    let mut puller = rig.puller();
    complete(&rig, &mut puller).await;
    let found = puller.verify(&rig.engine).await.unwrap();
    assert!(found.is_whole() && found.files == 3, "{found:?}");
    std::fs::write(rig.path("current/a"), "x").unwrap();
    std::fs::remove_file(rig.path("current/b")).unwrap();
    let found = puller.verify(&rig.engine).await.unwrap();
    assert_eq!((found.changed, found.missing), (1, 1));
    assert_eq!(found.names, ["a", "b"]);
}
