//! HTTP/1 connections: the codec of [`crate::wire`] on a socket, towards clients and towards
//! servers.

pub mod client;
pub mod origin;

pub use client::{H1Client, NextRequest};
pub use origin::H1Origin;
