//! Helpers shared by the cross-crate tests.

pub mod alloc;
pub mod gguf;
pub mod tokenizer;
