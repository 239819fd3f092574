//! Files: those that a configuration names, read by the crate [`machine`], and those that clients
//! ask for, found and read by [`served`].

pub mod served;

pub use machine::files::*;
