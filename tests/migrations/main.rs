//! Configurations as people have them, each beside the tidegate file that takes its place.
//!
//! A folder is a migration: what there was, `tidegate.toml`, and `differences.md`. Its test starts
//! the original and tidegate, both in front of the same servers, and sends each request to both.
//! What is not the same has to be a row of `differences.md`, with what either says and why; a row
//! that is not seen to be true fails the test as well. The pages of the book under
//! `docs/coming-from` include these very files.
//!
//! Two are not the original itself: ingress-nginx is what its controller makes of the manifests, in
//! a real nginx, and Kong is what its documentation says.
//!
//! The files name the addresses and paths of a real site; [`site::Site`] replaces them by those of
//! the test. An original that is not installed fails its test, which says where it is to be had.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a panic"
)]

mod apache;
mod ask;
mod caddy;
mod differences;
mod echo;
mod envoy;
mod haproxy;
mod ingress_nginx;
mod kong;
mod nginx;
mod original;
mod site;
mod traefik;
