//! The checks that libFuzzer drives, and the codec they drive.
//!
//! The codec is compiled from its sources instead of being taken from the main package: libFuzzer
//! looks at every counter of the binary after every run, and the rest of the proxy would only make
//! that slower. The main package includes `checks` in its tests, so both run the same code.

pub mod checks;
#[path = "../../../src/clock.rs"]
pub mod clock;
pub mod net;
#[path = "../../../src/h2/state/mod.rs"]
pub mod state;
#[path = "../../../src/wire/mod.rs"]
pub mod wire;
