//! Integration tests: the whole agent on real servers.
//!
//! One binary for all of them. `cargo test -p lamplighter --test it pool` runs those with `pool` in their path.

// so that the lints see helpers outside #[test] functions as test code, too
#![cfg(test)]

#[path = "../support/lib.rs"]
mod support;

mod admission;
mod benches;
mod cache;
mod cli;
mod compression;
mod config;
mod consistency;
mod crosstalk;
mod digests;
mod drivers;
mod endpoint;
mod failover;
mod files;
mod fixtures;
mod login;
mod lost;
mod metrics;
mod multiplex;
mod platform;
mod probe;
mod query;
mod redis;
mod sessions;
mod statistics;
mod systemd;
mod tidy;
