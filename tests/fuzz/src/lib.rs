//! Fuzz targets for everything that reads bytes from outside. The checks are plain functions, so that
//! the main package runs them over the seeds and over random input with every `cargo test`.

pub mod checks;
