//! The defaults of keys whose type has none of its own. Pure; no IO.
use lamplighter_core::units::{Bytes, Millis, Percent};

use super::OctalMode;

pub(super) const fn interval() -> Millis {
    Millis::from_secs(30)
}
pub(super) const fn check_interval() -> Millis {
    Millis::from_secs(300)
}
pub(super) const fn release_grace() -> Millis {
    Millis::from_secs(300)
}
pub(super) const fn keep_releases() -> u8 {
    3
}
pub(super) const fn after_change_interval() -> Millis {
    Millis::from_secs(10)
}
pub(super) const fn after_change_timeout() -> Millis {
    Millis::from_secs(60)
}
pub(super) const fn debounce() -> Millis {
    Millis::new(500)
}
pub(super) const fn jitter() -> Percent {
    Percent::new(20.0)
}
pub(super) const fn file_mode() -> OctalMode {
    OctalMode(0o644)
}
pub(super) const fn dir_mode() -> OctalMode {
    OctalMode(0o755)
}
pub(super) const fn max_delete() -> u64 {
    1000
}
pub(super) const fn max_delete_percent() -> Percent {
    Percent::new(50.0)
}
pub(super) const fn required_deadline() -> Millis {
    Millis::from_secs(600)
}
pub(super) const fn concurrency() -> u16 {
    32
}
pub(super) const fn bytes_in_flight() -> Bytes {
    Bytes::from_mib(16)
}
pub(super) const fn min_free() -> Bytes {
    Bytes::from_mib(64)
}
pub(super) const fn connect_timeout() -> Millis {
    Millis::from_secs(5)
}
pub(super) const fn stall_timeout() -> Millis {
    Millis::from_secs(20)
}
