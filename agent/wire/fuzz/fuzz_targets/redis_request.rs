//! See `lamplighter_wire_fuzz::redis_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| lamplighter_wire_fuzz::redis_request(data));
