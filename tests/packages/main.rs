//! Package tests: what is installed, upgraded and removed in a real, booted systemd.
//!
//! Not part of `cargo test`: `make test-packages` builds the packages, makes the boxes' root file system, and runs these. They need
//! root. One at a time: `cargo test -p lamplighter --test packages deb::` after that.

// so that the lints see helpers outside #[test] functions as test code, too
#![cfg(test)]

#[path = "../support/lib.rs"]
mod support;

mod deb;
mod extension;
mod image;
mod machine;
mod mishaps;
mod restart;
mod rpm;
