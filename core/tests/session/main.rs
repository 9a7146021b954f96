//! Sessions on tiny random models.

mod cancel;
mod common;
mod load;
mod memory;
mod odd;
mod output;
mod overflow;
mod power;
mod reuse;
mod same_bits;
mod state;
mod tools;
