//! HTTP/1 as bytes and events, without I/O.
