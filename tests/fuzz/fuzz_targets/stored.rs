//! See `inputs::stored`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| tidegate_fuzz::inputs::stored(input));
