//! Which blob names may become files below a directory. A blob name is any text of 1 to 1,024 characters (Azure: "Naming and
//! referencing containers, blobs, and metadata"); a path is not. One name is refused, the others go on. Pure; no IO.

use std::fmt;

/// What this crate keeps for itself below a destination; blobs may not use it in any segment.
pub(crate) const RESERVED: &str = ".lamplighter";

/// Blobs whose name below the prefix begins so hold what `lamplighter publish` keeps: they are not files, and no news.
pub(crate) const OWN: &str = ".lamplighter/";

/// The longest segment of a path in bytes (Linux `NAME_MAX`).
const SEGMENT_MAX: usize = 255;
/// The longest path in bytes, with its final NUL (Linux `PATH_MAX`).
const PATH_MAX: usize = 4096;

/// Why a blob does not become a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// A segment is `.` or `..`.
    Traversal,
    /// Two slashes in a row: `a//b` and `a/b` would be one file.
    EmptySegment,
    /// It begins with a slash.
    LeadingSlash,
    /// It ends with a slash but has content; an empty one is a directory marker.
    TrailingSlash,
    /// It holds a backslash, a separator elsewhere.
    Backslash,
    /// It holds a control character.
    Control,
    /// A segment is longer than 255 bytes.
    SegmentTooLong,
    /// The whole path would be longer than the system takes.
    PathTooLong,
    /// A segment begins with `.lamplighter`.
    Reserved,
    /// Another blob is a file where this one needs a directory; the shorter name wins.
    Clash,
    /// Something local that the agent did not put there stands in the way, or the way leads through a symbolic link.
    InTheWay,
}

impl Refusal {
    /// Every reason, to initialise metrics with.
    pub const ALL: [Self; 11] = [
        Self::Traversal,
        Self::EmptySegment,
        Self::LeadingSlash,
        Self::TrailingSlash,
        Self::Backslash,
        Self::Control,
        Self::SegmentTooLong,
        Self::PathTooLong,
        Self::Reserved,
        Self::Clash,
        Self::InTheWay,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Traversal => "traversal",
            Self::EmptySegment => "empty_segment",
            Self::LeadingSlash => "leading_slash",
            Self::TrailingSlash => "trailing_slash",
            Self::Backslash => "backslash",
            Self::Control => "control_character",
            Self::SegmentTooLong => "segment_too_long",
            Self::PathTooLong => "path_too_long",
            Self::Reserved => "reserved",
            Self::Clash => "clash",
            Self::InTheWay => "in_the_way",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// Whether `name` (below the prefix) may be a path below a directory whose own path has `root_len` bytes.
///
/// A name that passes is relative, normal, and means the same to the kernel, to PHP and to us.
///
/// # Errors
/// With the first reason against it.
pub(crate) fn check(name: &str, root_len: usize) -> Result<(), Refusal> {
    if name.chars().any(char::is_control) {
        return Err(Refusal::Control);
    }
    if name.contains('\\') {
        return Err(Refusal::Backslash);
    }
    if name.starts_with('/') {
        return Err(Refusal::LeadingSlash);
    }
    let Some(trimmed) = name.strip_suffix('/') else {
        return check_segments(name, root_len);
    };
    check_segments(trimmed, root_len)?;
    Err(Refusal::TrailingSlash)
}

/// As [`check`] for a directory marker: a name with its one final slash.
pub(crate) fn check_marker(name: &str, root_len: usize) -> Result<(), Refusal> {
    match check(name, root_len) {
        Err(Refusal::TrailingSlash) => Ok(()),
        other => other,
    }
}

fn check_segments(name: &str, root_len: usize) -> Result<(), Refusal> {
    for segment in name.split('/') {
        match segment {
            "" => return Err(Refusal::EmptySegment),
            "." | ".." => return Err(Refusal::Traversal),
            long if long.len() > SEGMENT_MAX => return Err(Refusal::SegmentTooLong),
            ours if ours.starts_with(RESERVED) => return Err(Refusal::Reserved),
            _ => {}
        }
    }
    if root_len + 1 + name.len() + 1 > PATH_MAX {
        return Err(Refusal::PathTooLong);
    }
    Ok(())
}

/// Finds names below a name that is itself a file (`a` and `a/b`), in one pass over sorted names.
///
/// Everything between `a` and `a/b` in byte order begins with `a` (`a.txt`, `a-1`), so it is enough to remember the chain of
/// names each of which begins the next; its length is bounded by that of one name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clashes {
    chain: Vec<Box<str>>,
}

impl Clashes {
    /// Whether `name` lies below a file admitted before. Names must come in byte order.
    pub(crate) fn below_a_file(&mut self, name: &str) -> bool {
        while self
            .chain
            .last()
            .is_some_and(|last| !name.starts_with(&**last))
        {
            self.chain.pop();
        }
        self.chain.iter().any(|file| {
            name.strip_prefix(&**file)
                .is_some_and(|rest| rest.starts_with('/'))
        })
    }

    /// Notes that `name` becomes a file.
    pub(crate) fn admit(&mut self, name: &str) {
        self.chain.push(name.into());
    }
}

#[cfg(test)]
mod tests;
