//! What the container says against what the disk holds: changes, deletes and their guards, names, drift.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use lamplighter_core::units::Percent;

use super::*;
use crate::config::{DeletePolicy, Filter};
use crate::metrics::Op;
use crate::plan::Guard;
use crate::rig::{Rig, files};

#[tokio::test(start_paused = true)]
async fn a_container_becomes_a_tree_and_stays_in_step_with_one_request() {
    let rig = Rig::new();
    put_all(
        &rig,
        [
            ("index.php", "<?php"),
            ("a/b/c.txt", "deep"),
            ("empty", ""),
            ("ü 🦀/leer zeichen", "name"),
        ],
    );
    rig.complete().await;
    let expected = files([
        ("index.php", "<?php"),
        ("a/b/c.txt", "deep"),
        ("empty", ""),
        ("ü 🦀/leer zeichen", "name"),
    ]);
    assert_eq!(rig.tree(), expected);
    assert_eq!(rig.complete().await, ["list  "]);
    rig.fake.put("index.php", "<?php 2");
    rig.fake.put("new", "n");
    rig.fake.delete("a/b/c.txt");
    assert_eq!(rig.complete().await.len(), 3);
    assert_eq!(
        rig.tree(),
        files([
            ("index.php", "<?php 2"),
            ("new", "n"),
            ("empty", ""),
            ("ü 🦀/leer zeichen", "name")
        ])
    );
    // the directories that were made for the file went with it
    assert!(!rig.path("a").exists());
    assert_eq!(rig.complete().await, ["list  "]);
}

#[tokio::test(start_paused = true)]
async fn only_what_is_below_the_prefix_is_taken() {
    let rig = Rig::with(|config| config.prefix = "www/".to_owned());
    put_all(
        &rig,
        [
            ("www/a", "1"),
            ("www2", "2"),
            ("other/b", "3"),
            ("www/", ""),
        ],
    );
    let log = rig.complete().await;
    assert_eq!(rig.tree(), files([("a", "1")]));
    assert!(log.contains(&"get www/a 0-1".to_owned()), "{log:?}");
}

// case 2
#[tokio::test(start_paused = true)]
async fn an_empty_list_deletes_nothing_and_says_so() {
    let rig = Rig::new();
    put_all(&rig, [("a", "1"), ("b", "2")]);
    rig.complete().await;
    rig.fake.delete("a");
    rig.fake.delete("b");
    for _ in 0..2 {
        let report = rig.cycle().await;
        assert_eq!(report.held, Some(Guard::EmptyList));
        assert!(report.is_complete());
        assert_eq!(rig.tree().len(), 2);
    }
    // and when it comes back, the rest of it goes as usual
    rig.fake.put("a", "1");
    rig.complete().await;
    assert_eq!(rig.tree(), files([("a", "1")]));
}

#[tokio::test(start_paused = true)]
async fn too_many_deletes_are_held_while_everything_else_goes_on() {
    let rig = Rig::with(|config| config.max_delete = 20);
    for at in 0..100 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.complete().await;
    for at in 0..21 {
        rig.fake.delete(&format!("f{at:02}"));
    }
    rig.fake.put("f50", "changed");
    let report = rig.cycle().await;
    assert_eq!(
        (report.held, report.census.deletes),
        (Some(Guard::MaxDelete), 21)
    );
    let tree = rig.tree();
    assert_eq!((tree.len(), tree["f50"].as_str()), (100, "changed"));
    // one fewer passes
    rig.fake.put("f00", "x");
    let report = rig.cycle().await;
    assert_eq!((report.held, rig.tree().len()), (None, 80));
}

#[tokio::test(start_paused = true)]
async fn too_large_a_share_is_held() {
    let rig = Rig::with(|config| config.max_delete_percent = Percent::new(25.0));
    for at in 0..40 {
        rig.fake.put(&format!("f{at:02}"), "x");
    }
    rig.complete().await;
    for at in 0..11 {
        rig.fake.delete(&format!("f{at:02}"));
    }
    assert_eq!(rig.cycle().await.held, Some(Guard::MaxDeletePercent));
    assert_eq!(rig.tree().len(), 40);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_deleted_if_the_entry_says_never() {
    let rig = Rig::with(|config| config.delete = DeletePolicy::Never);
    put_all(&rig, [("a", "1"), ("b", "2")]);
    rig.complete().await;
    rig.fake.delete("a");
    rig.complete().await;
    assert_eq!(rig.tree().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn files_of_others_stay_and_so_do_their_directories() {
    let rig = Rig::new();
    std::fs::create_dir_all(rig.path("theirs")).unwrap();
    std::fs::write(rig.path("local"), "mine").unwrap();
    put_all(&rig, [("d/a", "1"), ("theirs/b", "2"), ("keep", "3")]);
    rig.complete().await;
    std::fs::write(rig.path("d/upload"), "mine").unwrap();
    rig.fake.delete("d/a");
    rig.fake.delete("theirs/b");
    rig.complete().await;
    assert_eq!(
        rig.tree(),
        files([("local", "mine"), ("d/upload", "mine"), ("keep", "3")])
    );
    // a directory that was there before stays though it is empty; one of ours goes when it becomes empty
    assert!(rig.path("theirs").is_dir());
    std::fs::remove_file(rig.path("d/upload")).unwrap();
    rig.complete().await;
    assert!(!rig.path("d").exists());
}

#[tokio::test(start_paused = true)]
async fn what_is_filtered_away_is_neither_written_nor_deleted() {
    let mut rig = Rig::new();
    put_all(&rig, [("cache/x", "1"), ("b", "2")]);
    rig.complete().await;
    rig.engine.config.filters = vec![Filter::Exclude("cache/**".to_owned())];
    rig.fake.delete("cache/x");
    rig.fake.put("cache/y", "3");
    rig.complete().await;
    assert_eq!(rig.tree(), files([("cache/x", "1"), ("b", "2")]));
}

// case 5
#[tokio::test(start_paused = true)]
async fn losing_the_index_costs_no_download() {
    let mut rig = Rig::new();
    put_all(&rig, [("a", "1"), ("d/b", "2"), ("empty", "")]);
    rig.complete().await;
    for damage in [None, Some("garbage")] {
        match damage {
            None => std::fs::remove_file(rig.index_path()).unwrap(),
            Some(text) => std::fs::write(rig.index_path(), text).unwrap(),
        }
        rig.restart();
        assert_eq!(rig.complete().await, ["list  "]);
        assert_eq!(rig.engine.attempts.metrics.objects(Op::Adopt).get(), 3);
        assert_eq!(rig.complete().await, ["list  "]);
        assert_eq!(
            rig.engine.attempts.metrics.objects(Op::Adopt).get(),
            3,
            "once is enough"
        );
    }
}

// case 15
#[tokio::test(start_paused = true)]
async fn what_is_changed_here_is_repaired() {
    let rig = Rig::new();
    put_all(
        &rig,
        [
            ("edited", "12345"),
            ("truncated", "12345"),
            ("deleted", "12345"),
            ("touched", "12345"),
            ("linked", "12345"),
            ("chmod", "12345"),
        ],
    );
    rig.complete().await;
    std::fs::write(rig.path("edited"), "xxxxx").unwrap();
    std::fs::write(rig.path("truncated"), "1").unwrap();
    std::fs::remove_file(rig.path("deleted")).unwrap();
    std::fs::write(rig.path("touched"), "12345").unwrap();
    std::fs::remove_file(rig.path("linked")).unwrap();
    symlink("/etc/passwd", rig.path("linked")).unwrap();
    std::fs::set_permissions(rig.path("chmod"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let log = rig.complete().await;
    assert_eq!(log.len(), 1 + 4, "{log:?}");
    assert!(
        rig.tree().values().all(|content| content == "12345"),
        "{:?}",
        rig.tree()
    );
    assert_eq!(
        std::fs::metadata(rig.path("chmod"))
            .unwrap()
            .permissions()
            .mode()
            & 0o777,
        0o644
    );
    assert!(rig.path("linked").symlink_metadata().unwrap().is_file());
    assert_eq!(rig.engine.attempts.metrics.objects(Op::Repair).get(), 4);
    assert_eq!(rig.complete().await, ["list  "]);
}

// case 20: clocks are never compared
#[tokio::test(start_paused = true)]
async fn going_back_to_old_content_is_a_change_like_any_other() {
    let rig = Rig::new();
    rig.fake.put("f", "old");
    rig.complete().await;
    rig.fake.put("f", "new");
    rig.complete().await;
    let future = std::time::SystemTime::now() + Duration::from_secs(86_400 * 365);
    let file = std::fs::File::options()
        .write(true)
        .open(rig.path("f"))
        .unwrap();
    file.set_modified(future).unwrap();
    rig.fake.put("f", "old");
    rig.complete().await;
    assert_eq!(rig.tree(), files([("f", "old")]));
}

#[tokio::test(start_paused = true)]
async fn what_is_published_again_unchanged_is_not_fetched() {
    let rig = Rig::new();
    rig.fake.put("f", "same");
    rig.complete().await;
    rig.fake.put("f", "same");
    assert_eq!(rig.complete().await, ["list  "]);
    assert_eq!(rig.complete().await, ["list  "]);
}

// cases 8 and 10
#[tokio::test(start_paused = true)]
async fn one_hostile_name_stops_nothing_else() {
    let rig = Rig::new();
    let outside = rig.dir.path().join("escaped");
    let hostile = [
        "../escaped",
        "a/../../escaped",
        "/abs",
        "a//b",
        "c/",
        "back\\slash",
        "ctl\u{1}",
        ".lamplighter-staging/x",
        "ok/../../../escaped",
    ];
    for name in hostile {
        rig.fake.put(name, "evil");
    }
    put_all(
        &rig,
        [
            ("good", "1"),
            ("z/good", "2"),
            ("clash", "file"),
            ("clash/below", "refused"),
        ],
    );
    let report = rig.cycle().await;
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.refused.values().sum::<u64>(), 10);
    assert_eq!(
        rig.tree(),
        files([("good", "1"), ("z/good", "2"), ("clash", "file")])
    );
    assert!(!outside.exists());
}

#[tokio::test(start_paused = true)]
async fn a_file_becomes_a_directory_and_a_directory_a_file() {
    let rig = Rig::new();
    put_all(
        &rig,
        [("a", "file"), ("b/x", "1"), ("b/y/z", "2"), ("keep", "k")],
    );
    rig.complete().await;
    rig.fake.delete("a");
    rig.fake.put("a/x", "now below");
    rig.fake.delete("b/x");
    rig.fake.delete("b/y/z");
    rig.fake.put("b", "now a file");
    // what is in the way goes at the end of the first pass; the pass after it puts the new in place
    let report = rig.cycle().await;
    assert!(report.again, "{report:?}");
    let report = rig.cycle().await;
    assert!(!report.again && report.refused.is_empty(), "{report:?}");
    assert_eq!(
        rig.tree(),
        files([("a/x", "now below"), ("b", "now a file"), ("keep", "k")])
    );
}

#[tokio::test(start_paused = true)]
async fn empty_directories_make_way_for_a_file_and_nothing_else_does() {
    let rig = Rig::new();
    std::fs::create_dir_all(rig.path("empty/x/y")).unwrap();
    std::fs::create_dir_all(rig.path("theirs/x")).unwrap();
    std::fs::write(rig.path("theirs/x/f"), "mine").unwrap();
    put_all(&rig, [("empty", "1"), ("theirs", "2")]);
    let report = rig.cycle().await;
    assert_eq!(report.refused.get(&Refusal::InTheWay), Some(&1));
    assert_eq!(rig.tree(), files([("empty", "1"), ("theirs/x/f", "mine")]));
    // what cannot be put in place is not fetched
    assert_eq!(rig.complete().await, ["list  "]);
}

#[tokio::test(start_paused = true)]
async fn markers_make_directories_and_stubs_no_files() {
    let rig = Rig::new();
    rig.fake.put("uploads/", "");
    rig.fake.put_stub("hier");
    rig.fake.put("hier/f", "1");
    rig.fake.put("keep", "1");
    let report = rig.cycle().await;
    assert!(
        report.is_complete() && report.refused.is_empty(),
        "{report:?}"
    );
    assert!(rig.path("uploads").is_dir());
    assert_eq!(rig.tree(), files([("hier/f", "1"), ("keep", "1")]));
    assert_eq!(rig.complete().await, ["list  "]);
    std::fs::remove_dir(rig.path("uploads")).unwrap();
    rig.complete().await;
    assert!(rig.path("uploads").is_dir());
    rig.fake.delete("uploads/");
    rig.complete().await;
    assert!(!rig.path("uploads").exists());
}

// case 9
#[tokio::test(start_paused = true)]
async fn a_planted_link_is_refused_and_counted() {
    let rig = Rig::new();
    let outside = rig.dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    put_all(&rig, [("uploads/a", "1"), ("b", "2")]);
    rig.complete().await;
    std::fs::remove_file(rig.path("uploads/a")).unwrap();
    std::fs::remove_dir(rig.path("uploads")).unwrap();
    symlink(&outside, rig.path("uploads")).unwrap();
    rig.fake.put("uploads/new", "3");
    let report = rig.cycle().await;
    assert_eq!(report.refused.get(&Refusal::InTheWay), Some(&2));
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0);
    // and deletes go no further
    std::fs::write(outside.join("a"), "theirs").unwrap();
    rig.fake.delete("uploads/a");
    rig.cycle().await;
    assert_eq!(std::fs::read(outside.join("a")).unwrap(), b"theirs");
}

// case 11
#[tokio::test(start_paused = true)]
async fn names_that_differ_in_case_are_two_files() {
    let rig = Rig::new();
    put_all(&rig, [("Case.txt", "1"), ("case.txt", "2")]);
    rig.complete().await;
    assert_eq!(rig.tree(), files([("Case.txt", "1"), ("case.txt", "2")]));
}

#[tokio::test(start_paused = true)]
async fn a_pass_that_changes_nothing_writes_nothing() {
    let rig = Rig::new();
    rig.fake.put("a", "1");
    rig.complete().await;
    let before = std::fs::metadata(rig.index_path())
        .unwrap()
        .modified()
        .unwrap();
    rig.complete().await;
    assert_eq!(
        std::fs::metadata(rig.index_path())
            .unwrap()
            .modified()
            .unwrap(),
        before
    );
}
