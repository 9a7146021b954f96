//! Tests of the public interface: every backend against the scalar one, the scalar one against plain mathematics in
//! f64, and the formats against their definitions.
//!
//! `HALFPI_BACKEND` narrows the first to one backend, and fails where this machine does not run it.

mod attention;
mod common;
mod complex;
mod elementwise;
mod errors;
mod formats;
mod kv_cache;
mod ladders;
mod oracle;
mod overflow;
mod phase_pairs;
mod products;
mod tables;
