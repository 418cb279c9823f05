//! Fixtures: real servers for tests and benches, each on free ports and unix sockets in a directory of its own.
//!
//! Included as a module by every binary that needs them: `#[path = "../support/lib.rs"] mod support;`. Each fixture starts in
//! its constructor, waits until it answers, and stops when it is dropped; a test run that is killed leaves nothing behind
//! ([`keeper`]). When a test fails its directories stay and their paths are printed. Nothing here talks to anything but
//! loopback and unix sockets, and nothing is skipped: a server program that is missing fails the test with the command that
//! installs it. `tests/support/README.md` lists what there is.
#![allow(
    dead_code,
    unused_imports,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "each binary uses a part of the fixtures, and a fixture that cannot do its work fails the test that asked for it"
)]

pub(crate) mod agent;
pub(crate) mod azurite;
pub(crate) mod disk;
pub(crate) mod entra;
pub(crate) mod faults;
pub(crate) mod http;
pub(crate) mod imds;
pub(crate) mod keeper;
pub(crate) mod mariadb;
pub(crate) mod mysql;
pub(crate) mod network;
pub(crate) mod php;
pub(crate) mod pki;
pub(crate) mod poll;
pub(crate) mod ports;
pub(crate) mod process;
pub(crate) mod programs;
pub(crate) mod prometheus;
pub(crate) mod redis;
pub(crate) mod resolver;
pub(crate) mod router;
pub(crate) mod scratch;
pub(crate) mod storage_pages;
pub(crate) mod web;
