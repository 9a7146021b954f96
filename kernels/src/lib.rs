//! Packed weights and the arithmetic on them.
#![no_std]
