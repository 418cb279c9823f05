//! Where the server programs are, and what to say when they are not.

use std::path::{Path, PathBuf};

/// Where `install.sh` puts what does not come from apt, and where seeds and port locks live: `~/.cache/lamplighter`, or
/// `$LAMPLIGHTER_CACHE`.
pub(crate) fn cache() -> PathBuf {
    let home =
        || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/lamplighter");
    std::env::var_os("LAMPLIGHTER_CACHE").map_or_else(home, PathBuf::from)
}

/// The folder `tests/` of the repository, whichever package of it includes this.
pub(crate) fn tests_dir() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let found = package
        .ancestors()
        .map(|dir| dir.join("tests"))
        .find(|dir| dir.join("support/lib.rs").is_file());
    found.expect("tests/support lies beside or above the package")
}

/// The path of program `name` from `PATH` or a system folder. Panics, naming the cure, when it is not installed; `part` is
/// the part of `install.sh` that brings it.
pub(crate) fn find(name: &str, part: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/usr/bin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| missing(name, part))
}

/// As [`find`] for a file below [`cache`].
pub(crate) fn find_cached(file: &str, part: &str) -> PathBuf {
    let path = cache().join(file);
    if path.exists() {
        path
    } else {
        missing(&path.display().to_string(), part)
    }
}

fn missing(name: &str, part: &str) -> ! {
    panic!(
        "{name} is not installed: run `make test`, or `tests/support/install.sh {part}`, which installs it"
    );
}
