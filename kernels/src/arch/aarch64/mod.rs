//! 64-bit Arm: phones, tablets, newer laptops.

pub(crate) mod dotprod;
mod lanes;
pub(crate) mod neon;
