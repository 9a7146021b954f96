//! 64-bit Arm: phones, tablets, newer laptops.
//!
//! Each format's codes become values in one place ([`unpack`]), for all of these processors. They differ in what
//! multiplies them ([`IntegerProducts`](products::IntegerProducts)): a backend each.

pub(crate) mod dotprod;
pub(crate) mod i8mm;
mod lanes;
pub(crate) mod neon;
mod products;
mod unpack;
