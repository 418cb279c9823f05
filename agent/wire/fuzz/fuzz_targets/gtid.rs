//! Thin wrapper: the body is `lamplighter_wire_fuzz::gtid`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lamplighter_wire_fuzz::gtid(data));
