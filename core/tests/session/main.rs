//! Sessions on tiny random models.

mod cancel;
mod common;
mod odd;
mod output;
mod overflow;
mod reuse;
mod same_bits;
mod tools;
