//! The checks that libFuzzer drives.
//!
//! `checks` depend on the codec alone and not on the main package: libFuzzer looks at every counter
//! of the binary after every run, and the rest of the proxy would only make that slower. The main
//! package includes `checks` in its tests, so both run the same code. `inputs` and `whole` drive
//! what only the main package has.

pub mod checks;
pub mod inputs;
pub mod whole;
