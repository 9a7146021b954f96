//! x86-64: hosts, emulators and Chromebooks.

pub(crate) mod avx2;
pub(crate) mod avx512;
pub(crate) mod avxvnni;
