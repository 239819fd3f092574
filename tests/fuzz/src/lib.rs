//! The checks that libFuzzer drives.
//!
//! They depend on the codec alone and not on the main package: libFuzzer looks at every counter of the
//! binary after every run, and the rest of the proxy would only make that slower. The main package
//! includes `checks` in its tests, so both run the same code.

pub mod checks;
