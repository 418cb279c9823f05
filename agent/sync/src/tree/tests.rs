//! The destination against links, races and full disks; everything real.

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::rig;
use crate::sum::Way;

struct Place {
    dir: TempDir,
    root: Root,
}

fn place() -> Place {
    place_with(|_| {})
}

fn place_with(change: impl FnOnce(&mut Config)) -> Place {
    let dir = tempfile::tempdir().unwrap();
    let mut config = rig::config(&dir.path().join("tree"));
    change(&mut config);
    let root = Root::open(&config).unwrap();
    Place { dir, root }
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("tree").join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> Result<Fingerprint, TreeError> {
        self.root.make_directories(split(name).0)?;
        let mut staged = self.root.stage(Some(name), content.len() as u64)?;
        staged.write(&[Bytes::copy_from_slice(content)])?;
        staged.commit(&self.root, name)
    }

    fn observe(&self, name: &str) -> Observed {
        self.root.observe(name, &mut Near::default()).unwrap()
    }

    /// Everything, also outside of the destination.
    fn outside(&self) -> PathBuf {
        let outside = self.dir.path().join("outside");
        std::fs::create_dir_all(&outside).unwrap();
        outside
    }

    fn in_staging(&self) -> usize {
        std::fs::read_dir(self.path(STAGING)).unwrap().count()
    }
}

fn in_the_way<T: std::fmt::Debug>(result: Result<T, TreeError>) {
    let error = result.unwrap_err();
    assert!(
        matches!(error, TreeError::Refused(Refusal::InTheWay)),
        "{error:?}"
    );
}

#[test]
fn a_file_is_written_observed_and_replaced() {
    let place = place();
    assert_eq!(place.observe("a/b/f"), Observed::Missing);
    let first = place.write("a/b/f", b"one").unwrap();
    let Observed::File {
        size,
        fingerprint,
        attributes_ok,
    } = place.observe("a/b/f")
    else {
        panic!()
    };
    assert_eq!((size, fingerprint, attributes_ok), (3, first, true));
    let second = place.write("a/b/f", b"two!").unwrap();
    assert_ne!(first, second);
    assert_eq!(std::fs::read(place.path("a/b/f")).unwrap(), b"two!");
    assert_eq!(place.in_staging(), 0);
}

#[test]
fn modes_are_as_configured_whatever_the_umask() {
    let place = place_with(|config| {
        config.file_mode = toml::Value::String("0666".to_owned()).try_into().unwrap();
        config.dir_mode = toml::Value::String("0777".to_owned()).try_into().unwrap();
    });
    place.write("d/f", b"").unwrap();
    let mode = |name: &str| std::fs::metadata(place.path(name)).unwrap().mode() & 0o7777;
    assert_eq!(
        (mode("d"), mode("d/f"), mode(STAGING)),
        (0o777, 0o666, 0o700)
    );
    assert_eq!(
        std::fs::metadata(place.path("")).unwrap().mode() & 0o7777,
        0o777
    );
}

#[test]
fn a_changed_mode_is_noticed_and_set_right() {
    let place = place();
    place.write("f", b"x").unwrap();
    std::fs::set_permissions(place.path("f"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let Observed::File {
        fingerprint,
        attributes_ok: false,
        ..
    } = place.observe("f")
    else {
        panic!()
    };
    let after = place
        .root
        .set_attributes("f", fingerprint)
        .unwrap()
        .unwrap();
    assert!(
        matches!(place.observe("f"), Observed::File { fingerprint, attributes_ok: true, .. } if fingerprint == after)
    );
    // a file that changed since it was seen is left alone
    assert_eq!(place.root.set_attributes("f", fingerprint).unwrap(), None);
}

#[test]
fn every_local_change_changes_the_fingerprint() {
    let place = place();
    type Edit = (&'static str, fn(&Path));
    let edits: [Edit; 4] = [
        ("edited in place, same size, old time", |path| {
            let times = std::fs::FileTimes::new()
                .set_modified(std::fs::metadata(path).unwrap().modified().unwrap());
            std::fs::write(path, b"two").unwrap();
            std::fs::File::options()
                .write(true)
                .open(path)
                .unwrap()
                .set_times(times)
                .unwrap();
        }),
        ("truncated", |path| std::fs::write(path, b"").unwrap()),
        ("replaced", |path| {
            let other = path.with_extension("new");
            std::fs::write(&other, b"one").unwrap();
            std::fs::rename(&other, path).unwrap();
        }),
        ("chmod", |path| {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap()
        }),
    ];
    for (what, edit) in edits {
        let before = place.write("f", b"one").unwrap();
        edit(&place.path("f"));
        let after = place.observe("f");
        assert!(
            matches!(after, Observed::File { fingerprint, .. } if fingerprint != before),
            "{what}: {after:?}"
        );
    }
}

#[test]
fn a_link_on_the_way_is_never_followed() {
    let place = place();
    let outside = place.outside();
    std::fs::write(outside.join("f"), b"theirs").unwrap();
    std::fs::create_dir(outside.join("below")).unwrap();
    symlink(&outside, place.path("up")).unwrap();
    symlink(".", place.path("loop")).unwrap();
    std::fs::create_dir(place.path("real")).unwrap();
    symlink("real", place.path("inner")).unwrap();
    for way in ["up", "up/below", "loop", "inner"] {
        let name = format!("{way}/f");
        assert_eq!(place.observe(&name), Observed::Barred, "{way}");
        in_the_way(place.root.make_directories(&format!("{way}/sub")));
        let staged = place.root.stage(None, 0).unwrap();
        in_the_way(staged.commit(&place.root, &name));
        assert_eq!(place.root.hash(&name, Way::Md5).unwrap(), None);
        assert!(place.root.delete_file(&name).unwrap());
        assert!(place.root.delete_directory(&format!("{way}/sub/")).unwrap());
    }
    assert_eq!(std::fs::read(outside.join("f")).unwrap(), b"theirs");
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 2);
    assert_eq!(std::fs::read_dir(outside.join("below")).unwrap().count(), 0);
    assert_eq!(place.in_staging(), 0);
}

#[test]
fn a_link_in_place_of_a_file_is_replaced_not_written_through() {
    let place = place();
    let outside = place.outside().join("passwd");
    std::fs::write(&outside, b"theirs").unwrap();
    symlink(&outside, place.path("f")).unwrap();
    assert_eq!(place.observe("f"), Observed::Other);
    assert_eq!(place.root.hash("f", Way::Md5).unwrap(), None);
    assert_eq!(
        place
            .root
            .set_attributes("f", fingerprint(&fs::stat(&outside).unwrap()))
            .unwrap(),
        None
    );
    place.write("f", b"ours").unwrap();
    assert!(place.path("f").symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read(&outside).unwrap(), b"theirs");
    // and a delete takes the link
    std::fs::remove_file(place.path("f")).unwrap();
    symlink(&outside, place.path("f")).unwrap();
    assert!(place.root.delete_file("f").unwrap());
    assert!(place.path("f").symlink_metadata().is_err());
    assert_eq!(std::fs::read(&outside).unwrap(), b"theirs");
}

#[test]
fn kernels_without_openat2_get_the_same_answers() {
    let mut place = place();
    // nor has it files without a name
    place.root.nameless = false;
    let outside = place.outside();
    std::fs::create_dir(outside.join("below")).unwrap();
    symlink(&outside, place.path("up")).unwrap();
    place.root.no_openat2.store(true, Ordering::Relaxed);
    place.write("a/b/f", b"x").unwrap();
    assert!(matches!(place.observe("a/b/f"), Observed::File { .. }));
    assert_eq!(place.observe("up/f"), Observed::Barred);
    assert_eq!(place.observe("up/below/f"), Observed::Barred);
    in_the_way(place.root.make_directories("up/sub"));
    in_the_way(
        place
            .root
            .stage(None, 0)
            .unwrap()
            .commit(&place.root, "up/f"),
    );
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn staging_that_is_a_link_is_taken_away_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let config = rig::config(&dir.path().join("tree"));
    let outside = dir.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("keep"), b"theirs").unwrap();
    std::fs::create_dir(&config.path).unwrap();
    symlink(&outside, config.path.join(STAGING)).unwrap();
    Root::open(&config).unwrap();
    assert_eq!(std::fs::read(outside.join("keep")).unwrap(), b"theirs");
    assert!(
        config
            .path
            .join(STAGING)
            .symlink_metadata()
            .unwrap()
            .is_dir()
    );
}

#[test]
fn what_a_killed_process_left_is_swept() {
    let place = place();
    std::fs::write(place.path(STAGING).join("0123-4"), "half").unwrap();
    assert_eq!(place.in_staging(), 1);
    let config = rig::config(&place.path(""));
    Root::open(&config).unwrap();
    assert_eq!(place.in_staging(), 0);
}

#[test]
fn what_stands_in_the_way_is_told_and_stays() {
    let place = place();
    place.write("file", b"x").unwrap();
    std::fs::create_dir(place.path("dir")).unwrap();
    std::fs::write(place.path("dir/theirs"), b"x").unwrap();
    assert_eq!(place.observe("dir"), Observed::Directory);
    assert_eq!(place.observe("file/below"), Observed::Barred);
    in_the_way(place.write("dir", b"y"));
    in_the_way(place.write("file/below", b"y"));
    assert!(place.root.delete_file("dir").unwrap());
    assert!(!place.root.delete_directory("dir/").unwrap());
    assert!(place.path("dir/theirs").exists());
    assert_eq!(place.in_staging(), 0);
}

#[test]
fn directories_are_made_outermost_first_and_said_once() {
    let place = place();
    let made = place.root.make_directories("a/b/c").unwrap();
    assert_eq!(
        made,
        ["a/".into(), "a/b/".into(), Box::<str>::from("a/b/c/")]
    );
    assert_eq!(place.root.make_directories("a/b").unwrap(), []);
    assert!(place.root.delete_directory("a/b/c/").unwrap());
    assert!(place.root.delete_directory("a/b/c/").unwrap());
}

#[test]
fn space_is_looked_at_before_anything_is_written() {
    let place =
        place_with(|config| config.min_free = lamplighter_core::units::Bytes::new(u64::MAX / 2));
    let error = place.root.stage(None, 1).unwrap_err();
    assert!(matches!(error, TreeError::DiskFull(_)), "{error}");
    assert!(error.is_general());
    assert_eq!(place.in_staging(), 0);
}

#[test]
fn hashing_sees_only_regular_files() {
    let place = place();
    place.write("f", b"content").unwrap();
    let (sum, size, _) = place.root.hash("f", Way::Md5).unwrap().unwrap();
    assert_eq!((sum, size), (Way::Md5.of(b"content"), 7));
    assert_eq!(place.root.hash("missing", Way::Md5).unwrap(), None);
    assert_eq!(place.root.hash("no/way", Way::Sha256).unwrap(), None);
    fs::mknodat(
        fs::CWD,
        place.path("fifo"),
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    assert_eq!(place.observe("fifo"), Observed::Other);
    assert_eq!(place.root.hash("fifo", Way::Md5).unwrap(), None);
}

#[test]
fn looking_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = rig::config(&dir.path().join("tree"));
    assert!(Root::look(&config).unwrap().is_none());
    std::fs::create_dir(&config.path).unwrap();
    std::fs::write(config.path.join("f"), b"x").unwrap();
    let root = Root::look(&config).unwrap().unwrap();
    assert!(matches!(
        root.observe("f", &mut Near::default()).unwrap(),
        Observed::File { size: 1, .. }
    ));
    assert_eq!(std::fs::read_dir(&config.path).unwrap().count(), 1);
}

#[test]
fn this_file_system_keeps_case_apart() {
    let place = place();
    assert!(!place.root.folds_case());
    place.write("Case.txt", b"1").unwrap();
    place.write("case.txt", b"2").unwrap();
    assert_eq!(std::fs::read(place.path("Case.txt")).unwrap(), b"1");
}

#[test]
fn a_file_without_a_name_leaves_nothing_and_takes_over_whatever_has_its_name() {
    let place = place();
    assert!(
        place.root.nameless,
        "the file system of the tests has O_TMPFILE"
    );
    assert_eq!(place.in_staging(), 0, "no trace of the probe");
    place.root.make_directories("d").unwrap();
    let mut staged = place.root.stage(Some("d/f"), 1).unwrap();
    staged.write(&[Bytes::from_static(b"x")]).unwrap();
    assert_eq!(place.in_staging(), 0, "it has no name there either");
    drop(staged);
    assert_eq!(std::fs::read_dir(place.path("d")).unwrap().count(), 0);
    for content in ["first", "second"] {
        place.write("d/f", content.as_bytes()).unwrap();
        assert_eq!(
            std::fs::read(place.path("d/f")).unwrap(),
            content.as_bytes()
        );
        let stat = std::fs::metadata(place.path("d/f")).unwrap();
        assert_eq!((stat.nlink(), stat.mode() & 0o7777), (1, 0o644));
    }
    std::fs::create_dir(place.path("d/sub")).unwrap();
    in_the_way(place.write("d/sub", b"x"));
    assert_eq!(place.in_staging(), 0);
    // whose directory is not there yet
    let staged = place.root.stage(Some("later/f"), 0).unwrap();
    place.root.make_directories("later").unwrap();
    staged.commit(&place.root, "later/f").unwrap();
    assert!(place.path("later/f").exists());
}
