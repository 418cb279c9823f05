//! Secret files: what is read, what is refused, and that nothing prints.

use std::os::unix::fs::PermissionsExt;

use super::*;

fn file(content: &str, mode: u32) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("password");
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    (dir, path)
}

#[test]
fn reads_without_the_final_newline_and_never_prints() {
    let (_dir, path) = file("hunter2\n", 0o640);
    let secret = read(&path).unwrap();
    assert_eq!(secret.expose(), b"hunter2");
    assert_eq!(format!("{secret:?}"), "[secret]");
}

#[test]
fn refuses_what_everyone_can_read_and_says_the_cure() {
    let (_dir, path) = file("hunter2", 0o644);
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("readable by everyone") && error.contains("chmod o-rwx"),
        "{error}"
    );
    assert!(!error.contains("hunter2"));
}

#[test]
fn refuses_empty_and_missing_files() {
    let (_dir, path) = file("\n", 0o600);
    assert!(matches!(read(&path), Err(SecretError::Empty { .. })));
    assert!(matches!(
        read(Path::new("/nonexistent/x")),
        Err(SecretError::Unreadable { .. })
    ));
}

const fn is_wiped_when_dropped<T: ZeroizeOnDrop>() {}

#[test]
fn nothing_of_a_secret_stays_where_it_was_held_or_passed_through() {
    is_wiped_when_dropped::<Secret>();
    is_wiped_when_dropped::<Passage>();
    let mut secret = Secret::new(b"hunter2".to_vec());
    let mut passage = Passage::with_room(23);
    let room = passage.capacity();
    passage.extend_from_slice(secret.expose());
    // sent, and another message written over it
    passage.clear();
    passage.extend_from_slice(b"ok");
    assert_eq!(passage.capacity(), room, "it has not moved");
    wipe(&mut passage);
    assert_eq!(passage.len(), room);
    assert!(passage.iter().all(|byte| *byte == 0));
    secret.0.zeroize();
    assert!(secret.expose().is_empty());

    let bytes = Bytes::from(b"hunter2".to_vec());
    let other = bytes.clone();
    assert!(!wipe_bytes(bytes), "whoever else holds it needs it");
    assert_eq!(&*other, b"hunter2");
    assert!(wipe_bytes(other));
    assert!(!format!("{passage:?}{secret:?}").contains("hunter2"));
}
