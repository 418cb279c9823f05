//! The index survives what a disk can do to it, and is not written when nothing changed.

use super::*;
use crate::sum::Way;

fn file(name: &str, version: u64) -> Record {
    Record {
        name: name.into(),
        kind: Kind::File(FileRecord {
            size: version * 1000,
            etag: ETag::new(&format!("0x{version}")),
            sum: match version % 2 {
                0 => Way::Md5.of(name.as_bytes()),
                _ => Way::Sha256.of(name.as_bytes()),
            },
            fingerprint: Fingerprint {
                mtime_ns: -5,
                ctime_ns: 1_700_000_000_123_456_789,
                inode: u64::MAX,
            },
        }),
    }
}

fn directory(name: &str) -> Record {
    Record {
        name: name.into(),
        kind: Kind::Directory,
    }
}

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(
        dir.path().join("site.index"),
        "container|prefix|path".to_owned(),
    );
    Place { _dir: dir, store }
}

fn write(store: &Store, records: &[Record]) {
    let mut writer = store.begin(None);
    for record in records {
        writer.put(record).unwrap();
    }
    writer.finish().unwrap().publish().unwrap();
}

fn read(store: &Store) -> Option<Vec<Record>> {
    Some(store.open().unwrap()?.map(Result::unwrap).collect())
}

#[test]
fn what_is_written_is_read() {
    let place = place();
    assert_eq!(read(&place.store), None);
    let records = [directory("a/"), file("a/ü 🦀", 1), file("b", 2)];
    write(&place.store, &records);
    assert_eq!(read(&place.store).unwrap(), records);
    write(&place.store, &[]);
    assert_eq!(read(&place.store).unwrap(), []);
}

#[test]
fn one_wrong_bit_or_byte_too_few_makes_it_none() {
    let place = place();
    write(&place.store, &[file("a", 1), file("b", 2)]);
    let good = fs::read(&place.store.path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x40;
        fs::write(&place.store.path, &bad).unwrap();
        assert!(place.store.open().unwrap().is_none(), "byte {at}");
        fs::write(&place.store.path, &good[..at]).unwrap();
        assert!(place.store.open().unwrap().is_none(), "cut at {at}");
    }
}

/// As the version before wrote it.
fn of_the_version_before(identity: &str, records: &[Record]) -> Vec<u8> {
    fn text(bytes: &mut Vec<u8>, text: &str) {
        bytes.extend(u16::try_from(text.len()).unwrap().to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    let mut bytes = b"LLSYNC01".to_vec();
    text(&mut bytes, identity);
    for record in records {
        match &record.kind {
            Kind::Directory => {
                bytes.push(2);
                text(&mut bytes, &record.name);
            }
            Kind::File(file) => {
                bytes.push(1);
                text(&mut bytes, &record.name);
                bytes.extend(file.size.to_le_bytes());
                text(&mut bytes, file.etag.as_str());
                bytes.extend(file.sum.md5().unwrap().0);
                bytes.extend(file.fingerprint.mtime_ns.to_le_bytes());
                bytes.extend(file.fingerprint.ctime_ns.to_le_bytes());
                bytes.extend(file.fingerprint.inode.to_le_bytes());
            }
        }
    }
    bytes.push(0);
    let sum = Way::Md5.of(&bytes).md5().unwrap();
    bytes.extend(sum.0);
    bytes
}

#[test]
fn the_index_of_the_version_before_is_read_and_goes_on_in_this_ones() {
    let place = place();
    let old = [directory("a/"), file("a/b", 2), file("c", 4)];
    let bytes = of_the_version_before("container|prefix|path", &old);
    fs::write(&place.store.path, &bytes).unwrap();
    assert_eq!(read(&place.store).unwrap(), old);
    // what changes nothing leaves it
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    for record in &old {
        writer.keep(record).unwrap();
    }
    writer.finish().unwrap().publish().unwrap();
    assert_eq!(fs::read(&place.store.path).unwrap(), bytes);
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.keep(&old[0]).unwrap();
    writer.keep(&old[1]).unwrap();
    writer.put(&file("c", 5)).unwrap();
    writer.finish().unwrap().publish().unwrap();
    let expected = [directory("a/"), file("a/b", 2), file("c", 5)];
    assert_eq!(read(&place.store).unwrap(), expected);
}

#[test]
fn the_index_of_something_else_is_none() {
    let place = place();
    write(&place.store, &[file("a", 1)]);
    let other = Store::new(place.store.path, "another container".to_owned());
    assert!(other.open().unwrap().is_none());
}

#[test]
fn nothing_is_written_when_nothing_changes() {
    let place = place();
    let records = [file("a", 1), file("b", 2)];
    write(&place.store, &records);
    let before = fs::metadata(&place.store.path).unwrap().modified().unwrap();
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    for record in &records {
        writer.keep(record).unwrap();
    }
    let finished = writer.finish().unwrap();
    assert!(!finished.is_new());
    finished.publish().unwrap();
    assert_eq!(
        fs::metadata(&place.store.path).unwrap().modified().unwrap(),
        before
    );
}

#[test]
fn what_was_the_same_is_copied_once_something_is_not() {
    let place = place();
    let old = [file("a", 1), file("b", 1), file("c", 1), file("d", 1)];
    write(&place.store, &old);
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.keep(&old[0]).unwrap();
    writer.keep(&old[1]).unwrap();
    writer.put(&file("c", 2)).unwrap();
    writer.leave_out().unwrap();
    writer.put(&file("e", 1)).unwrap();
    writer.finish().unwrap().publish().unwrap();
    let expected = [file("a", 1), file("b", 1), file("c", 2), file("e", 1)];
    assert_eq!(read(&place.store).unwrap(), expected);
}

#[test]
fn leaving_the_first_out_is_a_change_too() {
    let place = place();
    write(&place.store, &[file("a", 1), file("b", 1)]);
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.leave_out().unwrap();
    writer.keep(&file("b", 1)).unwrap();
    writer.finish().unwrap().publish().unwrap();
    assert_eq!(read(&place.store).unwrap(), [file("b", 1)]);
}

#[test]
fn what_is_gone_is_pruned_from_a_new_and_from_an_old_index() {
    let place = place();
    let old = [file("a", 1), directory("b/"), file("b/c", 1), file("d", 1)];
    write(&place.store, &old);
    let gone: [Box<str>; 2] = ["b/".into(), "b/c".into()];
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    for record in &old {
        writer.keep(record).unwrap();
    }
    writer
        .finish()
        .unwrap()
        .without(&gone)
        .unwrap()
        .publish()
        .unwrap();
    assert_eq!(read(&place.store).unwrap(), [file("a", 1), file("d", 1)]);

    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.keep(&file("a", 1)).unwrap();
    writer.put(&file("b/c", 3)).unwrap();
    writer.keep(&file("d", 1)).unwrap();
    writer
        .finish()
        .unwrap()
        .without(&gone)
        .unwrap()
        .publish()
        .unwrap();
    assert_eq!(read(&place.store).unwrap(), [file("a", 1), file("d", 1)]);
}

#[test]
fn an_index_that_is_not_finished_leaves_the_old_one_and_no_rubbish() {
    let place = place();
    write(&place.store, &[file("a", 1)]);
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.put(&file("b", 1)).unwrap();
    drop(writer);
    let mut writer = place.store.begin(place.store.open().unwrap().as_ref());
    writer.put(&file("c", 1)).unwrap();
    drop(writer.finish().unwrap());
    assert_eq!(read(&place.store).unwrap(), [file("a", 1)]);
    let dir = place.store.path.parent().unwrap();
    assert_eq!(fs::read_dir(dir).unwrap().count(), 1);
}
