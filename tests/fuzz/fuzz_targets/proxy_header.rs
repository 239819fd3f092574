//! See `inputs::proxy_header`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::inputs::proxy_header(input));
