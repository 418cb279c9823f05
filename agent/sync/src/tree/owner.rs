//! Names of users and groups to numbers, from the files every Linux image has. Reads `/etc/passwd` and `/etc/group`.

use std::path::Path;

/// A user or group that cannot be found.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OwnerError {
    #[error("there is no {kind} {name:?} on this machine")]
    Unknown { kind: &'static str, name: String },
    #[error("cannot read {path}")]
    Unreadable {
        path: &'static str,
        source: std::io::Error,
    },
}

/// The number of a user, given by name or number.
pub(super) fn uid(name: &str) -> Result<u32, OwnerError> {
    number("user", "/etc/passwd", name)
}

/// The number of a group, given by name or number.
pub(super) fn gid(name: &str) -> Result<u32, OwnerError> {
    number("group", "/etc/group", name)
}

fn number(kind: &'static str, path: &'static str, name: &str) -> Result<u32, OwnerError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let table = std::fs::read_to_string(Path::new(path))
        .map_err(|source| OwnerError::Unreadable { path, source })?;
    find(&table, name).ok_or_else(|| OwnerError::Unknown {
        kind,
        name: name.to_owned(),
    })
}

/// passwd(5) and group(5) agree on the first three fields: name, password, number.
fn find(table: &str, name: &str) -> Option<u32> {
    table.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then_some(())?;
        fields.nth(1)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    //! The two formats, and numbers as they are.
    use super::*;

    #[test]
    fn names_are_found_and_numbers_taken_as_they_are() {
        let table =
            "root:x:0:0:root:/root:/bin/bash\nwww-data:x:33:33::/var/www:/usr/sbin/nologin\n";
        assert_eq!(find(table, "www-data"), Some(33));
        assert_eq!(find(table, "www"), None);
        assert_eq!(uid("4711").unwrap(), 4711);
        assert!(matches!(
            uid("no such user"),
            Err(OwnerError::Unknown { kind: "user", .. })
        ));
    }
}
