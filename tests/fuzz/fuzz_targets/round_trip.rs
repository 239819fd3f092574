//! See `checks::round_trip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::checks::round_trip::check(input));
