//! A shared cache for responses (RFC 9111).
//!
//! Pure rules: [`directives`], [`policy`], [`key`], [`search`], [`order`], [`status`]. What is
//! kept: [`object`] and its [`body`], found in a [`store`] that has a `share` of it, counted in
//! [`memory`], kept within bounds by [`housekeeping`]; `moment` tells which request came before
//! which purge. One fetch for many: [`flight`], its [`lead`] and [`fill`]. Behind memory: [`tier`],
//! in the form of [`stored`], with the purges of [`history`]. The walk that ties them together is
//! `proxy::cached`.

pub mod answer;
pub mod body;
pub mod directives;
pub mod fill;
pub mod flight;
pub mod history;
pub mod housekeeping;
pub mod key;
pub mod lead;
pub mod memory;
#[cfg(test)]
mod model;
mod moment;
pub mod object;
#[cfg(test)]
mod oracle;
pub mod order;
pub mod policy;
pub mod purge;
pub mod route;
pub mod search;
mod share;
pub mod status;
pub mod store;
pub mod stored;
pub mod tier;
pub mod webhook;
