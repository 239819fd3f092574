//! See `checks::differential_response`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::checks::differential_response::check(
    input
));
