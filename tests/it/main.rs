//! Integration tests: the whole agent on real servers.
//!
//! One binary for all of them. `cargo test -p lamplighter --test it pool` runs those with `pool` in their path.

#[path = "../support/lib.rs"]
mod support;

mod fixtures;
