//! Makes model files: random ones for tests and measurements.

mod error;
pub mod synthetic;

pub use error::PackError;
