//! Names of users and groups to numbers, from the files every Linux image has. Reads `/etc/passwd` and `/etc/group`.

use std::path::Path;

use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;

use crate::config::Config;

/// A user or group that cannot be found.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// No such name.
    #[error("there is no {kind} {name:?} on this machine")]
    Unknown {
        /// `user` or `group`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// No table of names.
    #[error("cannot read {path}")]
    Unreadable {
        /// The table.
        path: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel does not let us.
    #[error(
        "the agent may not give files to {wanted}: that takes CAP_CHOWN, which the shipped unit does not have; leave owner and \
         group out (files are the agent's, readable by all), or allow it in a drop-in: AmbientCapabilities=CAP_CHOWN, \
         CapabilityBoundingSet=CAP_CHOWN, SystemCallFilter=@chown"
    )]
    NotAllowed {
        /// Owner and group.
        wanted: String,
    },
}

/// Whether files can be given to the owner and group of `config`, tried on a file without a name in `dir`.
pub(crate) fn check(config: &Config, dir: &Path) -> Result<(), OwnerError> {
    let user = config.owner.as_deref().map(uid).transpose()?;
    let group = config.group.as_deref().map(gid).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    let Ok(file) = fs::open(dir, flags, Mode::from_raw_mode(0o600)) else {
        // a file system without nameless files: the first file will tell
        return Ok(());
    };
    let (user, group) = (user.map(fs::Uid::from_raw), group.map(fs::Gid::from_raw));
    match fs::fchown(&file, user, group) {
        Err(Errno::PERM) => Err(OwnerError::NotAllowed {
            wanted: [&config.owner, &config.group]
                .into_iter()
                .flatten()
                .cloned()
                .collect::<Vec<_>>()
                .join(":"),
        }),
        _ => Ok(()),
    }
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
