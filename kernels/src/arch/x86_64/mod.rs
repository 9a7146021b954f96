//! x86-64: hosts, emulators and Chromebooks.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod avxvnni;

/// How far ahead a kernel for one column asks for codes, in bytes: measured, on Zen 5 half as far costs a tenth.
const AHEAD: usize = 8192;
