//! See `checks::differential_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::checks::differential_request::check(
    input
));
