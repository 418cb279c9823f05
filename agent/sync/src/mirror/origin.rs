//! Who wrote a blob: the instance's name and a number of its own that is kept beside the index. Two machines may have been given
//! one name, and then neither may take the other's upload for its own. Reads and writes one small file.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;

/// The longest mark that is taken back from disk, in bytes.
const MARK_MAX: usize = 128;

/// The mark at `path`, or a new one for `instance` that is kept there. Where it cannot be kept it lasts as long as this process:
/// then an upload whose record was lost counts as somebody else's, and both contents are kept.
///
/// # Errors
/// If the system has no random bytes.
pub(super) fn mark(path: &Path, instance: &str) -> io::Result<String> {
    let plain = |text: &str| {
        let known = text.len() <= MARK_MAX && text.starts_with(instance);
        known
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if let Ok(kept) = fs::read_to_string(path)
        && plain(kept.trim())
        && kept.trim().len() > instance.len()
    {
        return Ok(kept.trim().to_owned());
    }
    let number = getrandom::u64().map_err(io::Error::other)?;
    let mark = format!("{instance}-{number:016x}");
    if let Err(error) = keep(path, &mark) {
        tracing::warn!(path = %path.display(), %error, "who writes from here is forgotten at the next start");
    }
    Ok(mark)
}

fn keep(path: &Path, mark: &str) -> io::Result<()> {
    let new = path.with_extension("origin-new");
    let mut file = fs::File::create(&new)?;
    file.write_all(mark.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_kept_and_no_other_has_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let (here, there) = (dir.path().join("a.origin"), dir.path().join("b.origin"));
        let one = mark(&here, "web-1").expect("a mark");
        assert!(one.starts_with("web-1-"));
        assert_eq!(mark(&here, "web-1").expect("kept"), one);
        assert_ne!(
            mark(&there, "web-1").expect("another"),
            one,
            "one name, two machines"
        );
        assert_ne!(
            mark(&here, "web-2").expect("a mark"),
            one,
            "the machine has another name now"
        );
    }

    #[test]
    fn what_is_no_mark_is_replaced() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("a.origin");
        for kept in ["", "web-1", "web-1-\r\nx-ms-evil: 1", &"web-1".repeat(100)] {
            fs::write(&path, kept).expect("written");
            let new = mark(&path, "web-1").expect("a mark");
            assert_ne!(new, kept.trim());
            assert_eq!(fs::read_to_string(&path).expect("kept"), new);
        }
        let nowhere = dir.path().join("none/a.origin");
        assert!(
            mark(&nowhere, "web-1")
                .expect("for now")
                .starts_with("web-1-")
        );
    }
}
