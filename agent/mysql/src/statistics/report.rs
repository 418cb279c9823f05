//! Statistics as they are shown: JSON for programs, and what `lamplighter mysql top` and `pins` print. Values of statements are not in it.

use serde::{Deserialize, Serialize};

/// The costliest digests.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Top {
    /// For how long statements have been counted, in seconds.
    pub since_seconds: u64,
    /// Digests whose statistics are kept now.
    pub known: usize,
    /// How many there may be (`mysql.digests_max`).
    pub digests_max: usize,
    /// Digests dropped for costlier ones.
    pub evicted: u64,
    /// Most time first.
    pub digests: Vec<DigestReport>,
}

/// Statements of one digest since it is known.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct DigestReport {
    /// 16 hexadecimal digits, the same on every instance.
    pub id: String,
    /// As the server's `STATEMENT_DIGEST_TEXT()`.
    pub text: String,
    /// Statements answered.
    pub calls: u64,
    /// Those answered with an error.
    pub errors: u64,
    /// Rows sent to clients.
    pub rows_sent: u64,
    /// Rows changed.
    pub rows_affected: u64,
    /// Bytes of answers.
    pub bytes_sent: u64,
    /// From the last byte of a statement to the last byte of its answer, all together, in seconds.
    pub seconds: f64,
    /// The longest.
    pub seconds_max: f64,
    /// Half of them took no longer; at most an eighth too high.
    pub p50_seconds: f64,
    /// 95 of 100.
    pub p95_seconds: f64,
    /// 99 of 100.
    pub p99_seconds: f64,
    /// Where they were answered.
    pub routes: Routes,
    /// Why clients kept their connections afterwards, how often and for how long.
    pub pins: Vec<PinTally>,
    /// Seconds since the digest became known.
    pub since_seconds: u64,
    /// Seconds since the last of its statements.
    pub last_seconds: u64,
}

/// Statements by where they were answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
pub struct Routes {
    /// On the primary.
    pub primary: u64,
    /// On a replica.
    pub replica: u64,
    /// By the endpoint.
    pub local: u64,
}

/// Connections kept for one reason, that are given back.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct PinTally {
    /// As in the metrics.
    pub reason: String,
    /// How often.
    pub count: u64,
    /// For how long, all together.
    pub seconds: f64,
}

/// Who keeps a server connection now.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Pins {
    /// Longest first.
    pub pins: Vec<PinReport>,
}

/// One client that keeps a server connection.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct PinReport {
    /// `CONNECTION_ID()` as the client sees it.
    pub client: u32,
    /// Who logged in.
    pub user: String,
    /// As in the metrics.
    pub reason: String,
    /// For how long.
    pub seconds: f64,
    /// `host:port`.
    pub server: String,
    /// The digest after which it was kept.
    pub digest: Option<String>,
    /// Its text.
    pub text: Option<String>,
}
