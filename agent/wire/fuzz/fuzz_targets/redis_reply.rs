//! See `lamplighter_wire_fuzz::redis_reply`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lamplighter_wire_fuzz::redis_reply(data));
